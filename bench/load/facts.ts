// The facts about a run that go with its numbers: machine, commit, versions, command.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus, totalmem } from "node:os";
import { openPool } from "../../relayer/src/db/pool.ts";
import { commit } from "../report.ts";
import { serverVersion } from "./ledger-store.ts";
import type { Cores } from "./processes.ts";
import type { World } from "./world.ts";

export type Facts = {
  machine: { processor: string; cores: number; memoryGiB: number; platform: string; node: string; fsyncMs: number; loadAverage1Minute: number };
  commit: string;
  versions: Record<string, string>;
  command: string;
  pinning: string;
  at: string;
};

const PACKAGES = ["fastify", "pg", "secp256k1", "express", "@x402/express", "@x402/evm", "@x402/core", "viem"];

export async function factsOf(world: World, cores: Cores, args: string[]): Promise<Facts> {
  const processors = cpus();
  const db = openPool(world.postgres.url, 1);
  const postgres = await serverVersion(db).finally(() => db.end());
  return {
    machine: {
      processor: processors[0]?.model.trim() ?? "unknown",
      cores: processors.length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      platform: `${process.platform} ${process.arch}`,
      node: process.versions.node,
      fsyncMs: world.fsyncMs,
      loadAverage1Minute: world.loadAverage1Minute,
    },
    commit: commit(),
    versions: { postgres, ...Object.fromEntries(PACKAGES.map((name) => [name, versionOf(name)])) },
    command: `npm run -s bench -- ${args.join(" ")}`,
    pinning: cores.note,
    at: new Date().toISOString(),
  };
}

function versionOf(name: string): string {
  const path = createRequire(import.meta.url).resolve.paths(name)!.map((folder) => `${folder}/${name}/package.json`);
  for (const file of path) {
    try {
      return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
    } catch {
      continue; // in a folder further up
    }
  }
  return "unknown";
}
