// The paying agent of the SDK as a command uses it: its records in one file a chain and payer, one process at a time.
import { mkdir, open, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createAgent, type Agent, type AgentOptions } from "../agent/agent.ts";
import { fileStorage } from "../agent/storage-node.ts";
import type { Context } from "./context.ts";
import { CliError } from "./exit.ts";

const LOCK_WAIT_MS = 60_000;
const LOOK_EVERY_MS = 100;

/** Runs `work` with the agent; its records are written whatever comes of it. */
export async function withAgent<T>(context: Context, options: Pick<AgentOptions, "limits" | "onPayment" | "deposit" | "mandate">, work: (agent: Agent) => Promise<T>): Promise<T> {
  const [chain, account] = [await context.chain(), await context.account()];
  const file = join(context.settings.stateDir, `agent-${chain.info.chainId}-${account.address.toLowerCase()}.json`);
  const release = await lock(context, `${file}.lock`);
  try {
    const agent = createAgent({ account, reader: chain.client, chainId: chain.info.chainId, sessionChannels: chain.contract, storage: fileStorage(file), ...options });
    try {
      return await work(agent);
    } finally {
      await agent.close();
    }
  } finally {
    await release();
  }
}

/** Two processes that sign on one channel from the same record would spend the same money twice, so the second one waits. */
async function lock(context: Context, path: string): Promise<() => Promise<void>> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  for (const until = Date.now() + LOCK_WAIT_MS; ; ) {
    const file = await open(path, "wx", 0o600).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw new CliError({ code: "storage_unwritable", exit: "usage", detail: `${dirname(path)} cannot be written (${error.code}).`, hint: "Give another with --state or TALLYSTICK_STATE." });
    });
    if (file !== undefined) {
      await file.writeFile(String(process.pid));
      await file.close();
      return () => rm(path, { force: true });
    }
    context.signal.throwIfAborted();
    const owner = Number(await readFile(path, "utf8").catch(() => ""));
    // Killed outright. An empty file is one that its owner is about to fill.
    if (owner > 0 && !isAlive(owner)) await rm(path, { force: true });
    else if (Date.now() > until) throw new CliError({ code: "storage_busy", retry: "safe", detail: "Another tallystick uses the agent's storage.", hint: `Wait for process ${owner}, or give this one its own folder with --state.` });
    else {
      context.output.progress("another tallystick uses the agent's storage; waiting for it …");
      await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
