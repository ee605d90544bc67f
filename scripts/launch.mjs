// Dependency-free launcher: puts a new enough Node in place, installs packages, then runs the target under that Node.
// Runs on Node 20 and later. `node scripts/launch.mjs <script> [args…]`
//
// Why it exists: Hardhat 3 refuses Node older than 22.13 and npm skips Hardhat's native engine when the install itself
// runs under an older Node, so the runtime has to be there before the install. See docs/ARCHITECTURE.md, "Runtime".
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const REQUIRED_MAJOR = 24;
const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const windows = process.platform === "win32";

const say = (line) => process.stderr.write(`${line}\n`);

/** Absolute path of a Node that can run this repository, installing one under .runtime/ when the current one is too old. */
function nodeBinary() {
  if (Number(process.versions.node.split(".")[0]) >= REQUIRED_MAJOR) return process.execPath;
  const home = join(root, ".runtime");
  const binary = join(home, "node_modules", "node", "bin", windows ? "node.exe" : "node");
  if (!works(binary)) {
    say(`node ${process.versions.node} is too old for Hardhat 3; installing node@${REQUIRED_MAJOR} into .runtime/ (once) …`);
    mkdirSync(home, { recursive: true });
    writeFileSync(join(home, "package.json"), JSON.stringify({ name: "runtime", private: true }));
    npm(process.execPath, ["install", `node@${REQUIRED_MAJOR}`, "--no-audit", "--no-fund", "--loglevel=error"], home);
    if (!works(binary)) fail("the npm package node@24 did not give a working binary; install Node 24 or later yourself");
  }
  return binary;
}

function works(binary) {
  return existsSync(binary) && spawnSync(binary, ["--version"]).status === 0;
}

/** Runs npm under the given Node; npm's own entry script is known when we were started by npm. */
function npm(node, args, cwd) {
  const entry = process.env.npm_execpath;
  const viaScript = entry !== undefined && /\.c?js$/.test(entry) && existsSync(entry);
  const env = environment(node);
  // The install must see the environment of a fresh npm, not the one of the `npm start` that started us.
  for (const key of Object.keys(env)) if (/^npm_(config|package|lifecycle|command)/.test(key) && !KEEP.test(key)) delete env[key];
  const run = viaScript
    ? spawnSync(node, [entry, ...args], { cwd, env, stdio: ["ignore", 2, 2] })
    : spawnSync(windows ? "npm.cmd" : "npm", args, { cwd, env, stdio: ["ignore", 2, 2], shell: windows });
  if (run.status !== 0) fail(`npm ${args.join(" ")} failed (exit ${run.status ?? run.signal ?? run.error?.message})`);
}
// Settings a user may have given as environment variables (registry, proxy, certificate, cache) stay.
const KEEP = /^npm_config_(registry|.*proxy|cafile|ca|cache|nodedir|userconfig|globalconfig|strict_ssl|_auth.*|.*registry)$/i;

function environment(node) {
  return { ...process.env, PATH: [dirname(node), process.env.PATH].join(delimiter) };
}

/** `npm install` (not ci: ci fails where a registry lacks another platform's optional binary), only when the lockfile changed. */
function install(node) {
  const files = ["package.json", "package-lock.json"].map((name) => join(root, name)).filter(existsSync);
  const digest = () => {
    const hash = createHash("sha256").update(process.platform).update(process.arch);
    for (const file of files) hash.update(readFileSync(file));
    return hash.digest("hex");
  };
  const stamp = join(root, "node_modules", ".installed");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest()) return;
  say("installing packages (once, a minute or two) …");
  npm(node, ["install", "--no-audit", "--no-fund", "--loglevel=error"], root);
  writeFileSync(stamp, digest());
}

function fail(message) {
  say(`tallystick: ${message}`);
  process.exit(1);
}

const [target, ...args] = process.argv.slice(2);
if (target === undefined) fail("usage: node scripts/launch.mjs <script> [args…]");
const node = nodeBinary();
install(node);
const child = spawn(node, ["--disable-warning=ExperimentalWarning", resolve(root, target), ...args], {
  cwd: root,
  env: environment(node),
  stdio: "inherit",
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 1)));
