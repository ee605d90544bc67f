// A flame graph from a CPU profile of V8: callers above, what they call below, width is time. Plain SVG, no script; hover for
// names and shares.
import { readFile, writeFile } from "node:fs/promises";

type ProfileNode = { id: number; callFrame: { functionName: string; url: string; lineNumber: number }; children?: number[] };
type Profile = { nodes: ProfileNode[]; samples: number[]; timeDeltas: number[] };
type Frame = { name: string; kind: Kind; self: number; total: number; children: Map<string, Frame> };
type Kind = "ours" | "package" | "node" | "engine";

const WIDTH = 1200;
const ROW = 16;
const CHAR = 6.2;
/** Narrower frames are left out: nobody could read them, and the file stays small. */
const NARROWEST = 1.2;
const COLOURS: Record<Kind, string> = { ours: "#e4803c", package: "#6d9fd0", node: "#79b27c", engine: "#a9a2b5" };
const LABELS: Record<Kind, string> = { ours: "this repository", package: "packages", node: "Node", engine: "engine and native" };

/** @param profileFile what V8's profiler wrote. */
export async function writeFlame(profileFile: string, svgFile: string, title: string): Promise<void> {
  const profile = JSON.parse(await readFile(profileFile, "utf8")) as Profile;
  await writeFile(svgFile, flame(profile, title));
}

export function flame(profile: Profile, title: string): string {
  const root = framesOf(profile);
  const rects: string[] = [];
  let deepest = 0;
  const draw = (frame: Frame, x: number, depth: number, scale: number) => {
    const width = frame.total * scale;
    if (width < NARROWEST) return;
    deepest = Math.max(deepest, depth);
    rects.push(rectangle(frame, x, depth, width, root.total));
    let at = x;
    for (const child of [...frame.children.values()].toSorted((a, b) => b.total - a.total)) {
      draw(child, at, depth + 1, scale);
      at += child.total * scale;
    }
  };
  let at = 0;
  const scale = WIDTH / root.total;
  for (const child of [...root.children.values()].toSorted((a, b) => b.total - a.total)) {
    draw(child, at, 0, scale);
    at += child.total * scale;
  }
  const top = 48;
  const height = top + (deepest + 1) * ROW + 8;
  const legend = (Object.keys(COLOURS) as Kind[]).map((kind, index) => `<rect x="${8 + index * 150}" y="28" width="10" height="10" fill="${COLOURS[kind]}"/><text x="${22 + index * 150}" y="37">${LABELS[kind]}</text>`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="ui-monospace, monospace" font-size="10">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="8" y="18" font-size="13">${escaped(title)}: ${Math.round(root.total / 1000)} ms busy</text>`,
    ...legend,
    `<g transform="translate(0 ${top})">`, ...rects, "</g></svg>", "",
  ].join("\n");
}

const IDLE = new Set(["(root)", "(idle)", "(program)"]);

/** Stacks merged by name and file; time asleep is left out. */
function framesOf({ nodes, samples, timeDeltas }: Profile): Frame {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map(nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id] as const)));
  const root: Frame = { name: "", kind: "engine", self: 0, total: 0, children: new Map() };
  for (const [index, id] of samples.entries()) {
    const time = Math.max(0, timeDeltas[index] ?? 0);
    const stack: ProfileNode[] = [];
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) stack.unshift(byId.get(at)!);
    const named = stack.filter(({ callFrame }) => !IDLE.has(callFrame.functionName));
    if (named.length === 0) continue;
    add(root, named, time);
  }
  return root;
}

function add(root: Frame, stack: ProfileNode[], time: number): void {
  root.total += time;
  let frame = root;
  for (const { callFrame } of stack) {
    const { name, kind } = nameOf(callFrame);
    const next: Frame = frame.children.get(name) ?? { name, kind, self: 0, total: 0, children: new Map() };
    frame.children.set(name, next);
    next.total += time;
    frame = next;
  }
  frame.self += time;
}

function nameOf({ functionName, url, lineNumber }: ProfileNode["callFrame"]): { name: string; kind: Kind } {
  const name = functionName === "" ? "(anonymous)" : functionName;
  if (url === "") return { name, kind: "engine" };
  if (url.startsWith("node:")) return { name: `${name} ${url}`, kind: "node" };
  const inPackage = url.lastIndexOf("/node_modules/");
  if (inPackage !== -1) return { name: `${name} ${url.slice(inPackage + 14).split("/").slice(0, url.includes("/node_modules/@") ? 2 : 1).join("/")}`, kind: "package" };
  const file = /(?:relayer|sdk|bench|test|scripts)\/.*$/.exec(url)?.[0] ?? url.split("/").at(-1)!;
  return { name: `${name} ${file}:${lineNumber + 1}`, kind: "ours" };
}

function rectangle({ name, kind, self, total }: Frame, x: number, depth: number, width: number, all: number): string {
  const share = (part: number) => `${((100 * part) / all).toFixed(1)} %`;
  const room = Math.floor((width - 4) / CHAR);
  const label = room < 3 ? "" : `<text x="${(x + 2).toFixed(1)}" y="${depth * ROW + 11}">${escaped(name.length > room ? name.slice(0, room) : name)}</text>`;
  return `<g><title>${escaped(name)}: ${share(total)}, itself ${share(self)}</title><rect x="${x.toFixed(1)}" y="${depth * ROW}" width="${Math.max(0.5, width - 0.4).toFixed(1)}" height="${ROW - 1}" fill="${COLOURS[kind]}"/>${label}</g>`;
}

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
