// Preloaded into a relayer that carries a planted fault: replaces texts of source files as they are loaded.
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";
import { NOT_PLANTED, PLANTED, type SourcePatch } from "./planted-faults.ts";

const root = new URL("../../", import.meta.url);
const fault = PLANTED.find(({ name }) => name === process.env.CHAOS_PLANTED);
if (fault === undefined) throw new Error(`no planted fault is called ${process.env.CHAOS_PLANTED}`);

const byUrl = Map.groupBy(fault.source ?? [], ({ file }) => new URL(file, root).href);

registerHooks({
  load(url, context, nextLoad) {
    const patches = byUrl.get(url);
    if (patches === undefined) return nextLoad(url, context);
    return { format: "module-typescript", shortCircuit: true, source: patches.reduce(patched, readFileSync(fileURLToPath(url), "utf8")) };
  },
});

function patched(text: string, { file, find, replace }: SourcePatch): string {
  if (text.split(find).length === 2) return text.replace(find, () => replace);
  process.stderr.write(`planted fault ${fault!.name}: its text is in ${file} ${text.split(find).length - 1} times, not once: ${find}\n`);
  process.exit(NOT_PLANTED);
}
