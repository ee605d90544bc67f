// Runs `tallystick` as a user does: the real binary, as a process of its own, with nothing of ours in its environment.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { childEnvironment } from "../../scripts/local/process.ts";

export type Ran = { code: number; stdout: string; stderr: string; /** stdout as the one JSON object that --json promises. */ json: Record<string, any> };
export type RunOptions = { env?: Record<string, string>; stdin?: string | Uint8Array; cwd?: string; timeoutMs?: number };

const BINARY = fileURLToPath(new URL("../../sdk/src/cli/main.ts", import.meta.url));

/** Runs it to its end. HOME is a folder that does not exist, unless `env` names one. */
export async function tallystick(args: readonly string[], { env = {}, stdin, cwd, timeoutMs = 120_000 }: RunOptions = {}): Promise<Ran> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", BINARY, ...args], {
    cwd,
    env: childEnvironment({ HOME: "/nonexistent", ...env }),
    stdio: ["pipe", "pipe", "pipe"],
    timeout: timeoutMs,
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  child.stdin.on("error", () => {}); // it may end without reading
  child.stdin.end(stdin);
  const code = await new Promise<number>((done, failed) => child.once("error", failed).once("close", (status, signal) => (status === null ? failed(new Error(`ended by ${signal}: ${stderr}`)) : done(status))));
  return {
    code,
    stdout,
    stderr,
    get json() {
      const lines = stdout.split("\n").filter((line) => line !== "");
      if (lines.length !== 1) throw new Error(`stdout is not one line of JSON: ${stdout}${stderr}`);
      return JSON.parse(lines[0]!) as Record<string, unknown>;
    },
  };
}
