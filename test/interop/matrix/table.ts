// The pairings as a table for docs/INTEROP.md. `npm run exec test/interop/matrix/table.ts` writes it there.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { BEHAVIOURS } from "./behaviours.ts";
import { CLIENTS, COMBINATIONS, FACILITATORS, SCHEMES, SERVERS, type Combination } from "./pairings.ts";

const DOCUMENT = fileURLToPath(new URL("../../../docs/INTEROP.md", import.meta.url));
const BEGIN = "<!-- pairings: written by test/interop/matrix/table.ts, checked by npm test -->";
const END = "<!-- end of pairings -->";

const row = (cells: string[]) => `| ${cells.join(" | ")} |`;
const table = (head: string[], rows: string[][]) => [row(head), row(head.map(() => "---")), ...rows.map(row)].join("\n");

/** What the document has to hold between its two marks. */
export function pairingsText(): string {
  const notes = [...new Set(COMBINATIONS.flatMap(({ why }) => why ?? []))];
  const cell = (pairing: Combination) => (pairing.why === undefined ? "tested" : `no (${notes.indexOf(pairing.why) + 1})`);
  const lines = new Map<string, string[]>();
  for (const pairing of COMBINATIONS) {
    const { client, server, facilitator } = pairing;
    const key = [CLIENTS[client], SERVERS[server], FACILITATORS[facilitator]].join(" | ");
    lines.set(key, [...(lines.get(key) ?? [CLIENTS[client], SERVERS[server], FACILITATORS[facilitator]]), cell(pairing)]);
  }
  const pairings = table(["buyer", "seller", "facilitator", ...SCHEMES], [...lines.values()]);
  const behaviours = table(["behaviour", ...SCHEMES], BEHAVIOURS.map(({ name, schemes }) => [name, ...SCHEMES.map((scheme) => (schemes.includes(scheme) ? "yes" : "–"))]));
  return [pairings, ...notes.map((note, at) => `(${at + 1}) ${note}.`), "Every tested pairing goes through:", behaviours].join("\n\n");
}

export function documentedText(document = readFileSync(DOCUMENT, "utf8")): string {
  return document.slice(document.indexOf(BEGIN) + BEGIN.length, document.indexOf(END)).trim();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const document = readFileSync(DOCUMENT, "utf8");
  writeFileSync(DOCUMENT, `${document.slice(0, document.indexOf(BEGIN) + BEGIN.length)}\n\n${pairingsText()}\n\n${document.slice(document.indexOf(END))}`);
}
