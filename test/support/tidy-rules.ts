// The rules that keep the tree in shape, each a function from one file to what is wrong with it. test/tidy.test.ts applies
// them to every file, and to samples that each rule has to refuse.
import { posix } from "node:path";

export type Source = { path: string; text: string };
export type Rule = { name: string; check(source: Source): string[] };

type Import = { specifier: string; typeOnly: boolean; target: string };

const IMPORT = /^\s*(?:import|export)\s+(type\s+)?(?:([^"';]*?)\s+from\s+)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/gm;

/** Imports of a file; `target` is the path below the root for relative ones, else the package. */
export function importsOf({ path, text }: Source): Import[] {
  return [...withoutComments(text).matchAll(IMPORT)].map(([, typed, names, from, dynamic]) => {
    const specifier = (from ?? dynamic)!;
    const listed = /^\{([^}]*)\}$/.exec((names ?? "").trim())?.[1];
    const allTypes = listed !== undefined && listed.split(",").every((name) => name.trim() === "" || name.trim().startsWith("type "));
    const target = specifier.startsWith(".") ? posix.join(posix.dirname(path), specifier) : specifier;
    return { specifier, typeOnly: typed !== undefined || allTypes, target };
  });
}

/** Good enough for our own code: a comment marker inside a string only hides the rest of that line from the rules. */
export function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[^:])\/\/.*$/gm, "$1");
}

const isScript = (path: string) => /\.(?:ts|mjs)$/.test(path);
const within = (path: string, ...folders: string[]) => folders.some((folder) => path.startsWith(folder));
const isStore = (path: string) => /(?:^|[/-])store\.ts$/.test(path);
const fileOf = (path: string) => posix.basename(path);

/** Wrong when any import of a file in `folder` is not `allowed`. */
function arrow(name: string, applies: (path: string) => boolean, allowed: (imported: Import) => boolean): Rule {
  return {
    name,
    check(source) {
      if (!isScript(source.path) || !applies(source.path)) return [];
      return importsOf(source).filter((imported) => !allowed(imported)).map(({ specifier }) => `imports ${specifier}`);
    },
  };
}

/** Wrong when the code (not a comment) of a file matches. */
function forbidden(name: string, applies: (path: string) => boolean, pattern: RegExp): Rule {
  return {
    name,
    check({ path, text }) {
      if (!applies(path)) return [];
      return [...withoutComments(text).matchAll(new RegExp(pattern, "g"))].map(([found]) => `has ${JSON.stringify(found)}`);
    },
  };
}

const SQL = /\b(?:SELECT\s[\s\S]{1,200}?\sFROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|(?:CREATE|DROP|ALTER) (?:TABLE|INDEX|DATABASE|DOMAIN|TYPE))\b/;
const MAX_LINES = 400;
/** A contract is one file, its natspec included; a matrix of tests is one idea however long it is. */
const MAX_LINES_OF_TESTS_AND_CONTRACTS = 600;
// Put together, so that this file does not break the rules it states.
const MARKS = new RegExp(`\\b(?:${["TO" + "DO", "FIX" + "ME", "X" + "XX"].join("|")})\\b`);
const SKIPPED = new RegExp(`\\b(?:describe|context|it|suite|test)\\.(?:${"on" + "ly"}|${"sk" + "ip"})\\b|\\bx(?:it|describe)\\(|\\bvm\\.${"sk" + "ip"}\\(`);

/** What the relayer's sweeper calls (`sweeps` in relayer/src/relayer.ts). */
const SWEEP = /\b(?:sweep\w*|settleWithheld|followSettled|recoverApprovals|anchorSeals|syncDiscovery|fetchDocuments|probeServices)\(/;
const NO_SWEEPER = /\bsweepsByHand: true\b|\bRELAYER_ROLE: "server"|\bRELAYER_SWEEP_MS: "600000"/;

const FASTIFY_PLUGIN = "sdk/src/provider/fastify.ts";
const isOfSdk = ({ specifier, target }: Import) => /^(?:viem(\/|$)|node:)/.test(specifier) || within(target, "sdk/");

export const RULES: Rule[] = [
  arrow("the SDK imports only viem and its own files", (path) => within(path, "sdk/src/") && path !== FASTIFY_PLUGIN, isOfSdk),
  arrow("the SDK knows Fastify by its types alone", (path) => path === FASTIFY_PLUGIN, (imported) => isOfSdk(imported) || (imported.specifier === "fastify" && imported.typeOnly)),
  arrow("the SDK for browsers imports nothing of Node", (path) => within(path, "sdk/src/") && !within(path, "sdk/src/cli/", "sdk/src/provider/") && !path.endsWith("-node.ts"), ({ specifier }) => !specifier.startsWith("node:")),
  arrow("the indexer imports itself, the SDK and packages", (path) => within(path, "indexer/"), ({ specifier, target }) => !specifier.startsWith(".") || within(target, "indexer/", "sdk/")),
  arrow("the relayer imports itself, the SDK and packages", (path) => within(path, "relayer/"), ({ specifier, target }) => !specifier.startsWith(".") || within(target, "relayer/", "sdk/")),
  arrow("routes never import a store", (path) => within(path, "relayer/src/") && fileOf(path) === "routes.ts", ({ typeOnly, target }) => typeOnly || !isStore(target)),
  arrow(
    "logic imports no store, chain or database",
    (path) => within(path, "relayer/src/") && fileOf(path) === "logic.ts",
    ({ typeOnly, target }) => typeOnly || (!isStore(target) && !within(target, "relayer/src/chain/", "relayer/src/db/")),
  ),
  forbidden(
    "logic is pure: no await, no clock, no randomness",
    (path) => within(path, "relayer/src/") && fileOf(path) === "logic.ts",
    /\bawait\b|\bnew Date\b(?!\([^)])|\bDate\.now\b|\bMath\.random\b|\bperformance\.now\b|\brandom(?:Bytes|UUID|Int)\b/,
  ),
  forbidden(
    "only entry points read the environment",
    (path) => isScript(path) && !within(path, "scripts/", "bench/", "test/") && !["relayer/src/main.ts", "sdk/src/cli/main.ts", "indexer/ponder.config.ts", "hardhat.config.ts"].includes(path),
    /\bprocess\.env\b/,
  ),
  forbidden(
    "console only in telemetry, the CLI, scripts and benchmarks",
    (path) => isScript(path) && !within(path, "relayer/src/telemetry/", "sdk/src/cli", "scripts/", "bench/") && path !== "indexer/ponder.config.ts",
    /\bconsole\.\w+/,
  ),
  forbidden(
    "SQL only in stores, db/ and migrations",
    (path) => isScript(path) && !isStore(path) && !within(path, "relayer/src/db/", "test/") && path !== "scripts/local/postgres.ts",
    SQL,
  ),
  {
    name: "files are small, but for generated ones",
    check({ path, text }) {
      if (/^\/\/ Generated /.test(text)) return [];
      const most = within(path, "test/", "contracts/") ? MAX_LINES_OF_TESTS_AND_CONTRACTS : MAX_LINES;
      const lines = text.split("\n").length - 1;
      return lines > most ? [`has ${lines} lines, more than ${most}`] : [];
    },
  },
  { name: "nothing is left for later", check: ({ text }) => (MARKS.test(text) ? [`has ${MARKS.exec(text)![0]}`] : []) },
  forbidden("no test is left out", (path) => isScript(path) || path.endsWith(".sol"), SKIPPED),
  {
    name: "a test that sweeps by hand has no sweeper beside it",
    check({ path, text }) {
      const code = withoutComments(text);
      return within(path, "test/") && code.includes("startTestWorld(") && SWEEP.test(code) && !NO_SWEEPER.test(code) ? ["starts its world without sweepsByHand"] : [];
    },
  },
];
