// `npm start`: the whole of Tallystick on this machine, doing its main job on real input. No key, no faucet, no network.
import { setMaxListeners } from "node:events";
import { Household } from "./local/children.ts";
import { findDocuments } from "./local/documents.ts";
import { runMainJob } from "./local/job.ts";
import { describeOptions, readOptions, UsageError, wholeNumber, type Option } from "./local/options.ts";
import { printedSteps, say, seconds } from "./local/progress.ts";
import { jsonReport, printNext, printReport, printTrace } from "./local/report.ts";
import { traceOne } from "./local/trace.ts";
import { faultsOf } from "./local/verdict.ts";
import { startWorld } from "./local/world.ts";

const OPTIONS: Record<string, Option> = {
  once: { type: "boolean", about: "end after the main job" },
  json: { type: "boolean", about: "print one JSON object as the last line of stdout" },
  documents: { type: "string", value: "n", about: "buy for a sample of n documents instead of all" },
  "relayer-port": { type: "string", value: "port", about: "port of the relayer; a free one when left out" },
  "indexer-port": { type: "string", value: "port", about: "port of the indexer" },
  "rpc-port": { type: "string", value: "port", about: "port of the chain" },
  help: { type: "boolean", about: "this text" },
};

const HELP = `npm start -- [options]

Starts a chain, PostgreSQL, the indexer, the relayer and an example provider on 127.0.0.1, lets stock x402 clients and our SDK
buy an analysis of every README and licence text under node_modules, and shows what was paid, settled and indexed.

${describeOptions(OPTIONS)}

Environment:
  DATABASE_URL             use this PostgreSQL server (its user may create databases) instead of an embedded one
  RPC_URL                  use this node (chain id 84532, with hardhat_setCode) instead of an own chain
  RELAYER_*                settings for the relayer; .env.example lists them`;

type Settings = ReturnType<typeof readSettings>;

function readSettings(args: string[], env: NodeJS.ProcessEnv) {
  const { values } = readOptions(args, OPTIONS);
  const port = (name: string) => wholeNumber(name, values[name], 1, 65_535);
  const users = Object.entries(env).filter((entry): entry is [string, string] => entry[0].startsWith("RELAYER_") && entry[1] !== undefined);
  return {
    help: values.help === true,
    once: values.once === true,
    json: values.json === true,
    documents: wholeNumber("documents", values.documents, 1, 100_000_000),
    world: {
      relayerPort: port("relayer-port"),
      indexerPort: port("indexer-port"),
      rpcPort: port("rpc-port"),
      databaseUrl: env.DATABASE_URL || undefined,
      rpcUrl: env.RPC_URL || undefined,
      relayerEnv: Object.fromEntries(users),
    },
  };
}

/** Runs until the job is done (`--once`) or the user has enough; the exit code. */
async function run(settings: Settings, household: Household, interrupted: AbortSignal): Promise<number> {
  const began = performance.now();
  say("\n  Tallystick, local world");
  const finding = findDocuments(settings.documents);
  finding.catch(() => {}); // awaited below, perhaps after something else failed
  const world = await startWorld(settings.world, printedSteps, household.children, household.stoppers);
  const documents = await finding;
  interrupted.throwIfAborted();
  say(`\n  Everything is up after ${seconds(performance.now() - began)}. ${documents.length} documents to buy an analysis of:`);

  const watching = new AbortController();
  const watch = household.watch(AbortSignal.any([interrupted, watching.signal]));
  const job = await Promise.race([runMainJob(world, documents, interrupted), watch.then(() => interrupted.throwIfAborted() as never)]);
  const { trace, fault } = await traceOne(world, job).then((trace) => ({ trace, fault: [] }), (error: Error) => ({ trace: undefined, fault: [`tallystick trace failed: ${error.message}`] }));
  const faults = [...faultsOf(job), ...fault];
  process.stdout.write(`${printReport(world, job, faults)}\n`);
  if (trace !== undefined) process.stdout.write(`${printTrace(trace)}\n`);
  if (!settings.once) process.stdout.write(`${printNext(world)}\n`);
  if (settings.json) process.stdout.write(`${JSON.stringify(jsonReport(job, world, faults, trace, (performance.now() - began) / 1_000))}\n`);
  if (!settings.once) await watch;
  watching.abort();
  return faults.length === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  const settings = readSettings(process.argv.slice(2), process.env);
  if (settings.help) {
    process.stdout.write(`${HELP}\n`);
    return 0;
  }
  const household = new Household();
  const interruption = new AbortController();
  setMaxListeners(0, interruption.signal); // every call in flight listens
  onInterrupt((first) => {
    if (first) return interruption.abort(new Error("interrupted"));
    household.kill();
    process.exit(130);
  });
  // A mistake of ours must not leave processes behind either.
  process.on("uncaughtException", (error) => {
    say(`\n  ${error.stack ?? error.message}`);
    void household.stop().finally(() => process.exit(1));
  });
  try {
    return await run(settings, household, interruption.signal);
  } catch (error) {
    if (interruption.signal.aborted) return 130;
    const reason = error instanceof Error ? error.message : String(error);
    say(`\n  ${reason}`);
    if (settings.json) process.stdout.write(`${JSON.stringify({ ok: false, agents: [], reasons: [reason] })}\n`);
    return 1;
  } finally {
    if (interruption.signal.aborted) say("\n  stopping … (once more to kill)");
    await household.stop();
  }
}

/** Ctrl-C, a polite kill, a closed terminal, and the death of the launcher that holds our IPC channel. */
function onInterrupt(handle: (first: boolean) => void): void {
  let first = true;
  const once = () => {
    handle(first);
    first = false;
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, once);
  process.on("disconnect", once);
}

try {
  process.exit(await main());
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  say(error.message);
  process.exit(2);
}
