// `tallystick trace` of one payment of the main job, run as its user would: the command itself, with the payer's key.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { localKey, SDK_INDEX } from "./accounts.ts";
import type { JobResult } from "./job.ts";
import type { World } from "./world.ts";

const CLI = fileURLToPath(new URL("../../sdk/src/cli/main.ts", import.meta.url));
const TIMEOUT_MS = 30_000;

export type Trace = { paymentId: string; text: string };

/** The last call of our SDK's agent; undefined when it bought nothing. @throws what the command says when it fails. */
export async function traceOne(world: World, { purchases }: JobResult): Promise<Trace | undefined> {
  const paymentId = purchases.findLast(({ agent, fault }) => agent === "sdk" && fault === undefined)?.paymentId;
  if (paymentId === undefined) return undefined;
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, TALLYSTICK_PRIVATE_KEY: localKey(SDK_INDEX), TALLYSTICK_RELAYER_URL: world.relayerUrl, TALLYSTICK_GRAPHQL_URL: world.indexer.graphqlUrl };
  const { stdout } = await promisify(execFile)(process.execPath, ["--disable-warning=ExperimentalWarning", CLI, "trace", paymentId], { env, timeout: TIMEOUT_MS });
  return { paymentId, text: stdout.trimEnd() };
}
