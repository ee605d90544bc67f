// A project outside this repository with the packed SDK in its node_modules, installed by npm from the tarball and nothing else.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildPackage, packTarball, type Manifest } from "../../scripts/packaging/build.ts";

export type Installed = {
  /** The project's folder. */
  folder: string;
  tarball: string;
  /** As it was packed. */
  manifest: Manifest;
  /** Every import a consumer can write, patterns filled in: `@tallystick/sdk/receipt`. */
  entries: string[];
  remove(): void;
};

/** Its peer is the repository's own viem, linked, so that nothing is downloaded. */
export async function installPackage(): Promise<Installed> {
  const folder = mkdtempSync(join(tmpdir(), "tallystick-package-"));
  const manifest = buildPackage(join(folder, "build"));
  const tarball = packTarball(join(folder, "build"), folder);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module", dependencies: { [manifest.name]: `file:${tarball}` } }));
  const npm = ["install", "--offline", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", "--cache", join(folder, "cache")];
  execFileSync("npm", npm, { cwd: folder, stdio: ["ignore", "pipe", "pipe"], shell: process.platform === "win32" });
  const ours = fileURLToPath(new URL("../../node_modules/", import.meta.url));
  mkdirSync(join(folder, "node_modules", "@types"));
  // What a consumer in Node has besides: its types.
  for (const name of [...Object.keys((manifest["peerDependencies"] ?? {}) as object), "@types/node"]) symlinkSync(join(ours, name), join(folder, "node_modules", name), "junction");
  return { folder, tarball, manifest, entries: await entriesOf(manifest, join(folder, "node_modules", manifest.name)), remove: () => rmSync(folder, { recursive: true, force: true }) };
}

async function entriesOf({ name, exports }: Manifest, installed: string): Promise<string[]> {
  const entries: string[] = [];
  for (const [subpath, target] of Object.entries(exports)) {
    if (typeof target === "string") continue; // package.json itself
    const file = target["default"] ?? "";
    const found = file.includes("*") ? await matching(installed, file) : [""];
    entries.push(...found.map((part) => `${name}${subpath.slice(1).replace("*", part)}`));
  }
  return entries.sort();
}

async function matching(installed: string, pattern: string): Promise<string[]> {
  const [before = "", after = ""] = pattern.split("*");
  const files = await readdir(join(installed, before));
  return files.filter((file) => file.endsWith(after)).map((file) => file.slice(0, -after.length));
}
