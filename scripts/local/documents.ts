// The documents of the main job: every README and licence text that the installed packages brought along.
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export type Document = {
  /** Path below node_modules, with forward slashes. */
  path: string;
  text: string;
};

const NODE_MODULES = fileURLToPath(new URL("../../node_modules/", import.meta.url));
const WANTED = /^(?:readme|licen[cs]e)/i;
/** A script called license.js is a program, not a document. */
const PROGRAM = /\.(?:[cm]?[jt]sx?|json|map)$/i;

/** All of them, sorted by path so that a sample is the same everywhere; at most `limit`, spread over the whole tree. */
export async function findDocuments(limit = Number.POSITIVE_INFINITY): Promise<Document[]> {
  const entries = await readdir(NODE_MODULES, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile() && WANTED.test(entry.name) && !PROGRAM.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const documents: Document[] = [];
  for (const path of sample(paths, limit)) {
    const text = await readFile(path, "utf8");
    if (text.trim() !== "") documents.push({ path: relative(NODE_MODULES, path).replaceAll("\\", "/"), text });
  }
  return documents;
}

/** Every n-th of a list. */
function sample<T>(all: T[], limit: number): T[] {
  if (all.length <= limit) return all;
  return Array.from({ length: limit }, (_, index) => all[Math.floor((index * all.length) / limit)]!);
}
