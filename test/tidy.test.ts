import { expect } from "chai";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CONFIG_KEYS } from "../relayer/src/config.ts";
import { RULES, type Source } from "./support/tidy-rules.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const FOLDERS = ["bench", "contracts", "docs", "ignition", "indexer", "relayer", "scripts", "sdk", "test"];
const NOT_OURS = /(?:^|\/)(?:node_modules|generated|\.ponder)\//;

function read(path: string): Source {
  return { path, text: readFileSync(join(root, path), "utf8") };
}

function sources(): Source[] {
  const nested = FOLDERS.filter((folder) => existsSync(join(root, folder))).flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).map((path) => `${folder}/${path.replaceAll("\\", "/")}`),
  );
  return [...nested, "hardhat.config.ts"].filter((path) => /\.(?:ts|mjs|sol|sql)$/.test(path) && !NOT_OURS.test(path)).map(read);
}

/** For every rule, a file that breaks it: a rule that cannot fail guards nothing. */
const BAD: Record<string, Source> = {
  "the SDK imports only viem and its own files": { path: "sdk/src/a.ts", text: 'import pg from "pg";' },
  "the SDK knows Fastify by its types alone": { path: "sdk/src/provider/fastify.ts", text: 'import fastify from "fastify";' },
  "the SDK for browsers imports nothing of Node": { path: "sdk/src/agent/a.ts", text: 'import { readFile } from "node:fs/promises";' },
  "the indexer imports itself, the SDK and packages": { path: "indexer/src/a.ts", text: 'import { x } from "../../relayer/src/config.ts";' },
  "the relayer imports itself, the SDK and packages": { path: "relayer/src/a.ts", text: 'const x = await import("../../scripts/start.ts");' },
  "routes never import a store": { path: "relayer/src/capabilities/a/routes.ts", text: 'import { readA, type A } from "../b/refund-store.ts";' },
  "logic imports no store, chain or database": { path: "relayer/src/capabilities/a/logic.ts", text: 'import { read } from "../../chain/client.ts";' },
  "logic is pure: no await, no clock, no randomness": { path: "relayer/src/capabilities/a/logic.ts", text: "const now = Date.now();" },
  "only entry points read the environment": { path: "relayer/src/app.ts", text: "const port = process.env.PORT;" },
  "console only in telemetry, the CLI, scripts and benchmarks": { path: "relayer/src/app.ts", text: `${"con" + "sole"}.log("x");` },
  "SQL only in stores, db/ and migrations": { path: "relayer/src/capabilities/a/service.ts", text: "db.query(`SELECT x\n FROM y`);" },
  "files are small, but for generated ones": { path: "relayer/src/app.ts", text: "\n".repeat(401) },
  "nothing is left for later": { path: "relayer/migrations/0001_a.sql", text: `-- ${"TO" + "DO"}: index` },
  "no test is left out": { path: "test/a.test.ts", text: `describe.${"on" + "ly"}("a", () => {});` },
  "a test that sweeps by hand has no sweeper beside it": { path: "test/relayer/a.test.ts", text: `world = await ${"startTest" + "World"}();\nawait syncDiscovery(world.relayer.deps);` },
};

describe("tidy", () => {
  const all = sources();

  it("finds the tree", () => {
    expect(all.length).greaterThan(80);
    for (const folder of FOLDERS) expect(all.some(({ path }) => path.startsWith(`${folder}/`)), folder).equal(true);
  });

  for (const rule of RULES) {
    it(rule.name, () => {
      expect(all.flatMap((source) => rule.check(source).map((wrong) => `${source.path} ${wrong}`))).deep.equal([]);
    });
  }

  for (const rule of RULES) {
    it(`can fail: ${rule.name}`, () => expect(rule.check(BAD[rule.name]!)).lengthOf(1));
  }

  it("types and comments are no imports", () => {
    const text = 'import type { A } from "./store.ts";\nimport { type B } from "./store.ts";\n// import { c } from "./store.ts";\n';
    expect(RULES.flatMap((rule) => rule.check({ path: "relayer/src/capabilities/a/routes.ts", text }))).deep.equal([]);
  });

  it(".env.example lists exactly the relayer's keys, with what they are", () => {
    const listed = [...read(".env.example").text.matchAll(/^# (.+)\n#? ?([A-Z0-9_]+)=(.*)$/gm)].map(([, about, name, value]) => ({ about, name, value }));
    expect(listed).deep.equal(CONFIG_KEYS.map(({ name, about, fallback }) => ({ about, name, value: fallback ?? "" })));
  });
});
