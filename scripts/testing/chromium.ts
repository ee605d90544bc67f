// A Chromium for the browser tests: the one that is installed, else Debian's package. Playwright's own download is not used.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";

const PATHS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const INSTALL = ["apt-get update", "apt-get install -y --no-install-recommends chromium"];
/** Another apt-get may be running on a fresh machine. */
const WAIT_FOR_LOCK = ["-o", "DPkg::Lock::Timeout=300"];
const PROGRESS_EVERY_MS = 10_000;
const OUTPUT_KEPT = 4_000; // characters

/** For a test machine: no window, no GPU, no network of its own. */
export const CHROMIUM_ARGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

type Options = { paths?: string[]; root?: boolean; say?: (line: string) => void };

/** Path of the executable. @throws Error with the commands to run when there is none and it cannot be installed. */
export async function ensureChromium({ paths = PATHS, root = process.getuid?.() === 0, say = (line) => void process.stderr.write(`${line}\n`) }: Options = {}): Promise<string> {
  const find = () => paths.find((path) => existsSync(path));
  const installed = find();
  if (installed !== undefined) return installed;
  const help = `Install it with:\n  sudo ${INSTALL.join(" && sudo ")}\nor put a Chromium at ${PATHS[0]}.`;
  if (!existsSync("/usr/bin/apt-get")) throw new Error(`The browser tests need Chromium, and this system has no apt-get. Put one at ${PATHS[0]}.`);
  if (!root) throw new Error(`The browser tests need Chromium, and only root may install it. ${help}`);
  for (const command of INSTALL) {
    say(`installing Chromium for the browser tests (once): ${command} …`);
    const { code, output } = await run(command, say);
    if (code !== 0) throw new Error(`${command} ended with ${code}. ${help}\n${output}`);
  }
  const path = find();
  if (path === undefined) throw new Error(`apt-get installed no Chromium at ${paths.join(" or ")}. ${help}`);
  return path;
}

function run(command: string, say: (line: string) => void): Promise<{ code: number | string; output: string }> {
  const started = performance.now();
  const [file, ...args] = command.split(" ") as [string, ...string[]];
  const child = spawn(file, [...WAIT_FOR_LOCK, ...args], { env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" }, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => void (output = (output + text).slice(-OUTPUT_KEPT)));
  const progress = setInterval(() => say(`  … ${Math.round((performance.now() - started) / 1000)} s: ${output.trimEnd().split("\n").at(-1) ?? ""}`), PROGRESS_EVERY_MS);
  return new Promise((done) => {
    const end = (code: number | string) => {
      clearInterval(progress);
      done({ code, output });
    };
    child.on("error", (error) => end(error.message));
    child.on("close", (code, signal) => end(code ?? signal ?? "unknown"));
  });
}
