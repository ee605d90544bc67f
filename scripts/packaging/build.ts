// The SDK as it is published: sdk/src compiled to JavaScript and declarations, with sdk/package.json and this repository's version.
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const root = fileURLToPath(new URL("../../", import.meta.url));
const SOURCES = join(root, "sdk", "src");

export type Manifest = {
  name: string;
  version: string;
  exports: Record<string, string | Record<string, string>>;
  bin?: Record<string, string>;
  [key: string]: unknown;
};

export function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
}

/** Fills `folder` with the package, replacing what was there. @throws Error with the compiler's messages. */
export function buildPackage(folder: string): Manifest {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  compile(join(folder, "dist"));
  const { version, engines: _ours, license } = readManifest(root);
  const manifest = { ...readManifest(join(root, "sdk")), version, license } as Manifest;
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  copyFileSync(join(root, "sdk", "README.md"), join(folder, "README.md"));
  copyFileSync(join(root, "LICENSE"), join(folder, "LICENSE"));
  for (const file of Object.values(manifest.bin ?? {})) chmodSync(join(folder, file), 0o755);
  return manifest;
}

/** The tarball that `npm publish` would send; its path. */
export function packTarball(folder: string, destination: string): string {
  mkdirSync(destination, { recursive: true });
  // What it would pack, not what an installation knows: no registry is asked, no script runs.
  const output = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--offline", "--pack-destination", destination], {
    cwd: folder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    shell: process.platform === "win32",
  });
  const [packed] = JSON.parse(output) as { filename: string }[];
  const tarball = join(destination, packed?.filename ?? "");
  if (packed === undefined || !existsSync(tarball)) throw new Error(`npm pack made no tarball: ${output}`);
  return tarball;
}

function compile(outDir: string): void {
  const config = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  const program = ts.createProgram(sourcesBelow(SOURCES), {
    ...options,
    // What Node 20 and today's browsers have; a newer built-in in the SDK is a compile error here.
    target: ts.ScriptTarget.ES2022,
    lib: ["lib.es2023.d.ts", "lib.es2024.string.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
    types: ["node"],
    noEmit: false,
    noEmitOnError: true,
    declaration: true,
    rewriteRelativeImportExtensions: true,
    rootDir: SOURCES,
    outDir,
  });
  const { diagnostics } = program.emit(undefined, (path, text, mark) => ts.sys.writeFile(path, path.endsWith(".d.ts") ? withJsImports(text) : text, mark));
  const faults = [...ts.getPreEmitDiagnostics(program), ...diagnostics];
  if (faults.length > 0) throw new Error(ts.formatDiagnostics(faults, { getCanonicalFileName: (name) => name, getCurrentDirectory: () => root, getNewLine: () => "\n" }));
}

/** rewriteRelativeImportExtensions leaves declarations as they are written; not every resolution finds `x.d.ts` by `x.ts`. */
function withJsImports(declarations: string): string {
  return declarations.replace(/(\bfrom |\bimport\()"(\.{1,2}\/[^"]+)\.ts"/g, '$1"$2.js"');
}

function sourcesBelow(folder: string): string[] {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return files.filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts")).map((file) => join(folder, file));
}
