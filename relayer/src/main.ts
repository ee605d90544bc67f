// Starts the relayer: reads the environment (nothing else does), migrates, checks the chain, then listens.
import { TallystickError } from "../../sdk/src/errors.ts";
import { createRelayer } from "./relayer.ts";
import { readConfig } from "./config.ts";
import { createLog, EVENT } from "./telemetry/log.ts";

async function main(): Promise<void> {
  const config = readConfig(process.env);
  const log = createLog(config.logLevel);
  const relayer = await createRelayer(config, log);
  await relayer.start();
  let stopping = false;
  const stop = (signal: string) => {
    if (stopping) return;
    stopping = true;
    log.info({ event: EVENT.stopped, signal }, "stopping: finishing what is in flight");
    relayer.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ event: EVENT.failure, err: error }, "did not stop cleanly");
        process.exit(1);
      },
    );
  };
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => stop(signal));
}

main().catch((error: unknown) => {
  // Before the log exists there is only stderr; a TallystickError's message names no secret.
  process.stderr.write(`relayer: ${error instanceof TallystickError ? error.message : error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
});
