"use client";
import Link from "next/link";
import { Gate } from "plangate/react";

export function Export() {
  return (
    <Gate
      feature="export"
      loading={<button disabled>Export</button>}
      fallback={({ error }) =>
        error && error.code !== "signed_out" ? <p>We cannot tell right now whether you may export.</p> : <Link href="/pricing">Upgrade to export</Link>
      }
    >
      <button>Export</button>
    </Gate>
  );
}
