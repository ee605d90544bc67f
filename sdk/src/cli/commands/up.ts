// tallystick up: the local world, by the checkout's own `npm start`.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { join } from "node:path";
import type { Command } from "../command.ts";
import { CliError } from "../exit.ts";
import { checkoutRoot } from "../local-world.ts";

export const up: Command = {
  path: "up",
  about: "Start the whole of Tallystick on this machine, as npm start does",
  args: "[options of npm start]",
  positionals: [0, Number.POSITIVE_INFINITY],
  details: "Chain, PostgreSQL, indexer, relayer and an example provider on 127.0.0.1; no key, no faucet. It works from a checkout of\nthe repository and hands every option on: npm start -- --help lists them. It stays up until Ctrl-C; its exit code is that\nof npm start.",
  needs: [],
  options: {},
  passthrough: true,
  examples: [
    { about: "everything up, the main job run, then it stays up", line: "tallystick up" },
    { about: "a short run that ends, with one JSON object last", line: "tallystick up --once --documents 20 --json" },
  ],
  async run(context, { positionals }) {
    const root = checkoutRoot(process.cwd());
    if (root === undefined) {
      throw new CliError({
        code: "no_checkout",
        exit: "usage",
        detail: "This is no checkout of Tallystick, and the local world is made of one.",
        hint: "Get one and start it there:\n  git clone <the repository of Tallystick> && cd tallystick && npm start",
      });
    }
    const code = await runToEnd(root, positionals, context.signal);
    process.exitCode = code;
    return { json: {}, text: "", exit: code === 0 ? "ok" : code === 2 ? "usage" : code === 130 ? "interrupted" : "failed" };
  },
};

/** Its output is ours; signals reach it through the launcher, which takes two of the same keystroke for one. */
function runToEnd(root: string, args: string[], signal: AbortSignal): Promise<number> {
  const child = spawn(process.execPath, [join(root, "scripts", "launch.mjs"), "scripts/start.ts", ...args], { cwd: root, stdio: "inherit" });
  signal.addEventListener("abort", () => child.kill("SIGINT"), { once: true });
  process.once("disconnect", () => child.kill("SIGTERM"));
  return new Promise((done, failed) => {
    child.once("error", failed);
    child.once("exit", (code, ended) => done(code ?? 128 + (ended === null ? 0 : constants.signals[ended])));
  });
}
