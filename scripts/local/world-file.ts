// .local/world-<n>/world.json: where a running world is, for tools on this machine (`tallystick … --local` reads it). It is
// there while the world is up; one that was killed outright leaves it behind, so readers look whether its process lives.
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { World } from "./world.ts";

/** Writes the file; the returned function takes it away again. */
export async function publishWorld(folder: string, { rpcUrl, relayerUrl, serviceUrl, indexer }: World): Promise<() => Promise<void>> {
  const file = join(folder, "world.json");
  // Agents keep their channels here. The chain is a new one at each start, so those of an older one are void.
  const stateDir = join(folder, "agent");
  await rm(stateDir, { recursive: true, force: true });
  await mkdir(stateDir, { mode: 0o700 });
  await writeFile(file, `${JSON.stringify({ pid: process.pid, rpcUrl, relayerUrl, graphqlUrl: indexer.graphqlUrl, serviceUrl, stateDir }, null, 2)}\n`);
  return () => rm(file, { force: true });
}
