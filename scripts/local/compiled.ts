// The contracts' artifacts, compiled when a source changed since the last time: asking the compiler takes seconds, a hash none.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const stamp = join(root, ".local", "compiled");

/** Compiles unless the artifacts are those of the sources; true when it compiled. */
export async function ensureCompiled(): Promise<boolean> {
  const digest = await digestOfSources();
  const compiled = await readFile(stamp, "utf8").catch(() => "");
  if (compiled === digest && existsSync(join(root, "artifacts", "contracts", "SessionChannels.sol"))) return false;
  await run(join(root, "node_modules/hardhat/dist/src/cli.js"), ["build", "--no-tests", "--quiet"]);
  await mkdir(join(root, ".local"), { recursive: true });
  await writeFile(stamp, digest);
  return true;
}

async function digestOfSources(): Promise<string> {
  const hash = createHash("sha256");
  const files = (await readdir(join(root, "contracts"), { recursive: true })).filter((name) => name.endsWith(".sol") && !name.endsWith(".t.sol"));
  for (const name of files.sort()) hash.update(name).update(await readFile(join(root, "contracts", name)));
  for (const name of ["hardhat.config.ts", "package-lock.json"]) hash.update(await readFile(join(root, name)));
  return hash.digest("hex");
}

async function run(script: string, args: string[]): Promise<void> {
  const child = spawn(process.execPath, [script, ...args], { cwd: root, stdio: ["ignore", "ignore", "pipe"] });
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint = (complaint + text).slice(-8_000)));
  const code = await new Promise((done, failed) => child.once("error", failed).once("close", done));
  if (code !== 0) throw new Error(`compiling the contracts failed (${code}):\n${complaint}`);
}
