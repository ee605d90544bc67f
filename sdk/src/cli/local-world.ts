// Finds the local world that `npm start` keeps running: it writes .local/world-<n>/world.json and takes it away when it ends.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { CliError } from "./exit.ts";

export type LocalWorld = {
  /** Of the process that keeps it up. */
  pid: number;
  rpcUrl: string;
  relayerUrl: string;
  graphqlUrl: string;
  /** What its example provider sells. */
  serviceUrl: string;
  /** The agent's storage for this world: its chain is a new one at each start, so a channel of an older one is void. */
  stateDir: string;
};

/** The checkout that this file, or the folder, is in. */
export function checkoutRoot(cwd: string): string | undefined {
  const here = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
  for (const start of [here, cwd]) {
    for (let folder = start; ; folder = dirname(folder)) {
      if (isCheckout(folder)) return folder;
      if (folder === dirname(folder) || start === here) break;
    }
  }
  return undefined;
}

function isCheckout(folder: string): boolean {
  return existsSync(join(folder, "scripts", "launch.mjs")) && existsSync(join(folder, "scripts", "start.ts"));
}

/** The running world; the lowest number when there are several. @throws CliError `no_local_world`. */
export function findLocalWorld(cwd: string): LocalWorld {
  const root = checkoutRoot(cwd);
  const home = root === undefined ? undefined : join(root, ".local");
  const found = home === undefined || !existsSync(home) ? [] : readdirSync(home).filter((name) => /^world-\d+$/.test(name)).sort((a, b) => Number(a.slice(6)) - Number(b.slice(6)));
  for (const name of found) {
    const world = readWorld(join(home!, name, "world.json"));
    if (world !== undefined) return world;
  }
  throw new CliError({
    code: "no_local_world",
    exit: "usage",
    detail: root === undefined ? "--local needs a checkout of Tallystick, and this is none." : "No local world is running.",
    hint: root === undefined ? "Clone the repository and run npm start in it." : "Start one in another terminal: npm start",
  });
}

function readWorld(file: string): LocalWorld | undefined {
  if (!existsSync(file)) return undefined;
  const world = JSON.parse(readFileSync(file, "utf8")) as LocalWorld;
  return isAlive(world.pid) && [world.rpcUrl, world.relayerUrl].every(isLoopback) ? world : undefined;
}

/** A world that was killed outright left its file behind. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** The published accounts are for this machine only. */
export function isLoopback(url: string): boolean {
  const host = URL.canParse(url) ? new URL(url).hostname : "";
  return host === "localhost" || host === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(host);
}
