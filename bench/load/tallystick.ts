// The relayer as a process of its own, as in production but for the work that is sold: a function, or an upstream elsewhere.
import { createRelayer } from "../../relayer/src/relayer.ts";
import { readConfig } from "../../relayer/src/config.ts";
import { createLog } from "../../relayer/src/telemetry/log.ts";
import { answer, optionsOf } from "./part.ts";
import { bodyOf } from "./handler.ts";

export type TallystickOptions = {
  env: Record<string, string>;
  /** Name of the service that is a function here; the others are upstreams. */
  inProcess?: string;
};

const { env, inProcess } = optionsOf<TallystickOptions>();
const config = readConfig(env);
const headers = { "content-type": "application/json" };
const handlers = new Map(inProcess === undefined ? [] : [[inProcess, async ({ path }: { path: string }) => ({ status: 200, headers, body: Buffer.from(bodyOf(path)) })]]);
const relayer = await createRelayer(config, createLog(config.logLevel), { handlers });
const url = await relayer.start();

process.once("SIGTERM", () => void relayer.stop().then(() => process.exit(0)));
answer(url, {});
