import { Export } from "./export";

export default function Home() {
  return (
    <main>
      <h1>Reports</h1>
      <Export />
    </main>
  );
}
