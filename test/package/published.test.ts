// The SDK as strangers get it: packed, installed from the tarball into an empty project, imported by plain Node, type-checked by
// a consumer's compiler, judged by publint and arethetypeswrong, bundled.
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { expect } from "chai";
import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { publint } from "publint";
import ts from "typescript";
import { installPackage, type Installed } from "./installed.ts";

/** Minified, with what it needs of viem. 61 kB when this was written. */
const RECEIPT_CHECK_MAX_BYTES = 75_000;
/** 262 kB when this was written, 40 of them what an agent under a mandate needs; most of it is viem. */
const AGENT_MAX_BYTES = 300_000;
/** What needs Node: a provider's own server, local files, the command line. */
const NODE_ONLY = ["provider", "agent/storage-node", "guard/journal-node", "guard/server-node"];

describe("the published package", function () {
  this.timeout(180_000);
  let installed: Installed;
  before(async () => void (installed = await installPackage()));
  after(() => installed?.remove());

  const browserEntries = () => installed.entries.filter((entry) => !NODE_ONLY.some((name) => entry.startsWith(`${installed.manifest.name}/${name}`)));
  const packageFolder = () => join(installed.folder, "node_modules", installed.manifest.name);

  it("carries this repository's version, code, declarations, README and licence, and nothing else", () => {
    const listed = execFileSync("tar", ["-tzf", installed.tarball], { encoding: "utf8" }).trim().split("\n");
    const odd = listed.filter((file) => !/^package\/(?:dist\/.+(?:\.js|\.d\.ts)|package\.json|README\.md|LICENSE)$/.test(file));
    expect(odd).to.deep.equal([]);
    const root = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
    expect(installed.manifest.version).to.equal(root.version);
    const code = listed.filter((file) => file.endsWith(".js")).map((file) => file.replace(/\.js$/, ".d.ts"));
    expect(code.length).greaterThan(5);
    expect(listed).to.include.members([...code, "package/README.md", "package/LICENSE"]);
  });

  it("declarations import each other by .js, which every resolution finds", () => {
    const declarations = readdirSync(join(packageFolder(), "dist"), { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".d.ts"));
    const imports = declarations.flatMap((file) => [...readFileSync(join(packageFolder(), "dist", file), "utf8").matchAll(/(?:from |import\()"(\.[^"]*)"/g)].map(([, path]) => path!));
    expect(imports.length).greaterThan(0);
    expect(imports.filter((path) => !path.endsWith(".js"))).to.deep.equal([]);
  });

  it("every export is importable in plain Node", () => {
    expect(installed.entries.length).greaterThan(8);
    const script = `for (const entry of ${JSON.stringify(installed.entries)}) { const found = Object.keys(await import(entry)); if (found.length === 0) throw new Error(entry + " exports nothing"); }`;
    execFileSync(process.execPath, ["--input-type=module", "--eval", script], { cwd: installed.folder, stdio: ["ignore", "pipe", "pipe"] });
  });

  it("the command is there, and says what it can do", () => {
    const command = join(installed.folder, "node_modules", ".bin", "tallystick");
    const help = execFileSync(process.execPath, [realpathSync(command), "--help"], { cwd: installed.folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    expect(help).to.match(/tallystick \w+/);
    expect(statSync(command).mode & 0o111).greaterThan(0);
  });

  for (const resolution of ["nodenext", "bundler"] as const) {
    it(`a consumer in Node type-checks under moduleResolution ${resolution}, our declarations included`, () => {
      expect(diagnose(installed, { resolution, types: ["node"], source: usesOf(installed.entries) })).to.deep.equal([]);
    });

    it(`a consumer in a browser type-checks under moduleResolution ${resolution}, with no type of Node's`, () => {
      expect(diagnose(installed, { resolution, types: [], source: usesOf(browserEntries()) })).to.deep.equal([]);
    });
  }

  it("a consumer's mistake is found: the types are not any", () => {
    const source = `import { receiptHash } from "${installed.manifest.name}/receipt";\nexport const hash: number = receiptHash;\n`;
    expect(diagnose(installed, { resolution: "nodenext", types: [], source })).to.have.lengthOf(1);
  });

  it("the README's examples type-check against the package, and it names every entry", () => {
    const readme = readFileSync(join(packageFolder(), "README.md"), "utf8");
    const examples = [...readme.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code]) => code!);
    expect(examples.length).greaterThan(1);
    for (const source of examples) expect(diagnose(installed, { resolution: "nodenext", types: ["node"], source })).to.deep.equal([]);
    for (const subpath of Object.keys(installed.manifest.exports)) if (subpath !== "./package.json") expect(readme).to.include(`\`${subpath.slice(1)}\``);
  });

  it("publint has no remark", async () => {
    const { messages } = await publint({ pkgDir: packageFolder(), pack: false, strict: true });
    expect(messages).to.deep.equal([]);
  });

  it("arethetypeswrong has no remark", async () => {
    const result = await checkPackage(createPackageFromTarballData(readFileSync(installed.tarball)));
    if (!("problems" in result)) throw new Error("no types found in the package");
    // An ES module package by intent: CommonJS and the resolution from before `exports` are not served.
    const served = result.problems.filter((problem) => !("resolutionKind" in problem) || !["node10", "node16-cjs"].includes(problem.resolutionKind));
    expect(served).to.deep.equal([]);
  });

  it("a bundle that checks receipts holds nothing else of ours, and is small", async () => {
    const { modules, bytes } = await bundle(installed, `export { receiptHash, receiptSigner } from "${installed.manifest.name}/receipt";`);
    expect(modules).to.deep.equal(["dist/receipt.js", "dist/typed-data.js"]);
    expect(bytes).lessThan(RECEIPT_CHECK_MAX_BYTES);
  });

  it("a bundle of the agent holds nothing of the command line or of providers", async () => {
    const { modules, bytes } = await bundle(installed, `export { createAgent } from "${installed.manifest.name}/agent";`);
    expect(modules).to.include.members(["dist/agent/agent.js", "dist/receipt.js"]);
    expect(modules.filter((path) => /^dist\/(?:cli|provider)\/|-node\.js$/.test(path))).to.deep.equal([]);
    expect(bytes).lessThan(AGENT_MAX_BYTES);
  });

  it("a bundle of one constant holds only its file", async () => {
    const { modules } = await bundle(installed, `export { BASE } from "${installed.manifest.name}/constants"; import "${installed.manifest.name}/receipt";`);
    expect(modules).to.deep.equal(["dist/constants.js"]);
  });

  it("browser entries are bundled for browsers: no node: module is reached", async () => {
    for (const entry of browserEntries()) expect((await bundle(installed, `import * as all from "${entry}"; globalThis.all = all;`)).modules, entry).not.to.deep.equal([]);
  });
});

/** A module that uses every one of these. */
const usesOf = (entries: string[]) => entries.map((entry, at) => `import * as entry${at} from "${entry}";\nexport const used${at}: object = entry${at};\n`).join("");

type Consumer = { resolution: "nodenext" | "bundler"; types: string[]; source: string };

/** The compiler's remarks on a consumer's module, and on the package's own declarations. */
function diagnose({ folder, manifest }: Installed, { resolution, types, source }: Consumer): string[] {
  const file = join(folder, "consumer.ts");
  writeFileSync(file, source);
  const program = ts.createProgram([file], {
    target: ts.ScriptTarget.ES2022,
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
    module: resolution === "nodenext" ? ts.ModuleKind.NodeNext : ts.ModuleKind.ESNext,
    moduleResolution: resolution === "nodenext" ? ts.ModuleResolutionKind.NodeNext : ts.ModuleResolutionKind.Bundler,
    strict: true,
    noEmit: true,
    types,
    typeRoots: [join(folder, "node_modules", "@types")],
  });
  // viem's declarations are viem's; those of the consumer and of the package must be without fault.
  const files = program.getSourceFiles().filter(({ fileName }) => fileName === file || fileName.includes(`/${manifest.name}/`));
  const found = [...program.getOptionsDiagnostics(), ...files.flatMap((one) => [...program.getSyntacticDiagnostics(one), ...program.getSemanticDiagnostics(one)])];
  return found.map(({ messageText, file: at }) => `${at?.fileName ?? ""}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`);
}

/** Bundles for browsers; our modules that contributed bytes, and the size. */
async function bundle({ folder, manifest }: Installed, contents: string): Promise<{ modules: string[]; bytes: number }> {
  const { metafile, outputFiles } = await build({
    stdin: { contents, resolveDir: folder, loader: "js" },
    absWorkingDir: folder,
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    metafile: true,
    write: false,
    logLevel: "silent",
  });
  const inputs = Object.entries(Object.values(metafile.outputs)[0]!.inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  const ours = inputs.map(([path]) => path.split(`node_modules/${manifest.name}/`)[1]).filter((path) => path !== undefined);
  return { modules: ours.sort(), bytes: outputFiles[0]!.contents.length };
}
