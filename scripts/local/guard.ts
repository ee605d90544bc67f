// The guard of the local world: `tallystick guard`, as its user runs it, with a folder that the agents do not read.
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { stopChild } from "./process.ts";
import { start, type Service } from "./relayer.ts";

export type LocalGuard = Service & { journal: string };

const CLI = fileURLToPath(new URL("../../sdk/src/cli/main.ts", import.meta.url));

export async function startGuard(folder: string, rpcUrl: string): Promise<LocalGuard> {
  // The chain is a new one at each start, so what was signed on an older one is void.
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const env = { TALLYSTICK_RPC_URL: rpcUrl, TALLYSTICK_REGISTRY: LOCAL_MANDATE_REGISTRY, TALLYSTICK_STATE: folder, TALLYSTICK_KEYSTORE_PASSWORD: "the local world's guard" };
  const child = start(CLI, ["guard", "--port", "0", "--json"], env);
  let said = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => void (said += text));
  const ready = await new Promise<{ url?: string; journal?: string; error?: unknown }>((done, failed) => {
    let text = "";
    child.stdout!.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      if (text.includes("\n")) done(JSON.parse(text.slice(0, text.indexOf("\n"))) as { url: string; journal: string });
    });
    child.once("error", failed);
    child.once("exit", (code) => failed(new Error(`the guard ended with ${code}: ${said}`)));
  });
  if (ready.url === undefined) throw new Error(`the guard did not start: ${JSON.stringify(ready.error)}`);
  return { url: ready.url, journal: ready.journal ?? join(folder, "guard", "journal.jsonl"), pid: child.pid!, stop: () => stopChild(child) };
}
