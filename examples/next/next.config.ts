import type { NextConfig } from "next";

const config: NextConfig = {
  // This folder lies inside another package's.
  turbopack: { root: import.meta.dirname },
};

export default config;
