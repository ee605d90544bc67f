// Dependency-free launcher: puts a new enough Node in place, installs packages, then runs the target under that Node.
// Runs on Node 20 and later. `node scripts/launch.mjs <script> [args…]`
//
// Why it exists: Hardhat 3 refuses Node older than 22.13 and npm skips Hardhat's native engine when the install itself
// runs under an older Node, so the runtime has to be there before the install. See docs/ARCHITECTURE.md, "Runtime".
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const REQUIRED_MAJOR = 24;
const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const windows = process.platform === "win32";

const say = (line) => process.stderr.write(`${line}\n`);

// ---------------------------------------------------------------- the runtime

/** Absolute path of a Node that can run this repository, installing one under .runtime/ when the current one is too old. */
function nodeBinary() {
  if (Number(process.versions.node.split(".")[0]) >= REQUIRED_MAJOR) return process.execPath;
  const home = join(root, ".runtime");
  const binary = join(home, "node_modules", "node", "bin", windows ? "node.exe" : "node");
  if (works(binary)) return binary;
  alone(() => {
    if (works(binary)) return;
    say(`node ${process.versions.node} is too old for Hardhat 3; installing node@${REQUIRED_MAJOR} into .runtime/ (once) …`);
    // Half an installation looks whole to npm; nothing here is worth keeping.
    rmSync(join(home, "node_modules"), { recursive: true, force: true });
    mkdirSync(home, { recursive: true });
    writeFileSync(join(home, "package.json"), JSON.stringify({ name: "runtime", private: true }));
    npm(process.execPath, ["install", `node@${REQUIRED_MAJOR}`, "--no-audit", "--no-fund", "--loglevel=error"], home);
    if (!works(binary)) fail(`the npm package node@${REQUIRED_MAJOR} did not give a working binary; install Node ${REQUIRED_MAJOR} or later yourself`);
  });
  return binary;
}

function works(binary) {
  return existsSync(binary) && spawnSync(binary, ["--version"]).status === 0;
}

// ---------------------------------------------------------------- the packages

/** `npm install` (not ci: ci fails where a registry lacks another platform's optional binary), only when the lockfile changed. */
function install(node) {
  const modules = join(root, "node_modules");
  const stamp = join(modules, ".installed");
  const unfinished = join(modules, ".installing");
  const fresh = () => existsSync(stamp) && !existsSync(unfinished) && readFileSync(stamp, "utf8") === digest();
  if (fresh()) return;
  alone(() => {
    if (fresh()) return; // another process was faster
    if (existsSync(unfinished)) {
      // npm takes a half-extracted package for a whole one, so an interrupted install is thrown away.
      say("an earlier installation was interrupted; starting it over …");
      rmSync(modules, { recursive: true, force: true });
    }
    say("installing packages (once, a minute or two) …");
    mkdirSync(modules, { recursive: true });
    writeFileSync(unfinished, "");
    npm(node, ["install", "--no-audit", "--no-fund", "--loglevel=error"], root);
    writeFileSync(stamp, digest());
    rmSync(unfinished, { force: true });
  });
}

function digest() {
  const hash = createHash("sha256").update(process.platform).update(process.arch);
  for (const name of ["package.json", "package-lock.json"]) hash.update(readFileSync(join(root, name)));
  return hash.digest("hex");
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

/** One installation at a time: `npm start` and `npm test` may be started together in a fresh clone. */
function alone(work) {
  const lock = join(root, ".install-lock");
  for (let told = false; !take(lock); told = true) {
    if (!told) say("another process is installing; waiting for it …");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
  }
  // spawnSync blocks signals' handlers but not their default action, so `fail` and exit both come through here.
  const release = () => rmSync(lock, { force: true });
  process.once("exit", release);
  work();
  process.off("exit", release);
  release();
}

function take(lock) {
  try {
    writeFileSync(lock, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
  }
  const owner = Number(existsSync(lock) ? readFileSync(lock, "utf8") : 0);
  if (owner <= 0 || alive(owner)) return false;
  rmSync(lock, { force: true }); // its owner was killed while installing
  return take(lock);
}

function alive(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error.code === "EPERM";
  }
}

function fail(message) {
  say(`tallystick: ${message}`);
  process.exit(1);
}

// ---------------------------------------------------------------- the target

/**
 * A terminal sends Ctrl-C to every process of its group, and npm passes on what it gets as well: the target would see one
 * keystroke two or three times, and a second one means "kill" to it. So it runs in a group of its own, and only what comes
 * through here reaches it, once. The IPC channel tells it when we are gone without a word.
 */
function run(node, target, args) {
  const child = spawn(node, ["--disable-warning=ExperimentalWarning", resolve(root, target), ...args], {
    cwd: root,
    // The target works in the repository's root; TALLYSTICK_CWD is where the user stands, for paths that are the user's. It and all
    // that it starts share what they compile, which is a third of the time that a process takes to be there.
    env: { ...environment(node), NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(root, "node_modules", ".cache", "compile"), TALLYSTICK_CWD: userFolder() },
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    detached: !windows,
  });
  let passedOnAt = -Infinity;
  const passOn = (signal) => {
    if (performance.now() - passedOnAt < SAME_KEYSTROKE_MS) return;
    passedOnAt = performance.now();
    child.kill(signal);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => passOn(signal));
  // npm killed outright leaves us without a parent; without npm there may be good reasons for that (nohup).
  const parent = process.ppid;
  if (process.env.npm_lifecycle_event !== undefined) {
    setInterval(() => process.ppid !== parent && passOn("SIGTERM"), 1_000).unref();
  }
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}
const SAME_KEYSTROKE_MS = 400;

/** npm itself moves to the repository's root, and says in INIT_CWD where it was called. */
function userFolder() {
  return (process.env.npm_lifecycle_event !== undefined && process.env.INIT_CWD) || process.cwd();
}

const [target, ...args] = process.argv.slice(2);
if (target === undefined) fail("usage: node scripts/launch.mjs <script> [args…]");
const node = nodeBinary();
install(node);
run(node, target, args);
