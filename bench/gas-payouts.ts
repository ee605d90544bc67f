// What the gas snapshot says of payouts, for readers: a chart and the table of docs/PERFORMANCE.md. Made from the snapshot alone,
// so the same snapshot always gives the same text.
import { readFile, writeFile } from "node:fs/promises";
import type { Chart, Panel } from "./chart.ts";
import { chartSvg } from "./chart.ts";
import { FORMS, type Form } from "./gas-batches.ts";

const SNAPSHOT = new URL("./results/gas.json", import.meta.url);
const CHART = new URL("./results/gas.svg", import.meta.url);

type Figures = { gas: number; bytes: number; l1: number };
type Snapshot = Record<string, number>;

const NAME = /^paid out, +(\d+) rows, +(\d+) (skewed )?receivers, (.+): (gas|calldata bytes a row|L1 bytes a row)$/;
const FIGURE: Record<string, keyof Figures> = { gas: "gas", "calldata bytes a row": "bytes", "L1 bytes a row": "l1" };

export type KeptPayout = { rows: number; receivers: number; skewed: boolean; forms: Map<Form, Figures> };

/** Shapes in order of receivers and rows, the skewed one last. */
export function payoutsOf(snapshot: Snapshot): KeptPayout[] {
  const shapes = new Map<string, KeptPayout>();
  for (const [name, value] of Object.entries(snapshot)) {
    const [, rows, receivers, skewed, form, figure] = NAME.exec(name) ?? [];
    if (rows === undefined) continue;
    const key = `${rows}/${receivers}/${skewed}`;
    const shape = shapes.get(key) ?? { rows: Number(rows), receivers: Number(receivers), skewed: skewed !== undefined, forms: new Map() };
    const figures = shape.forms.get(form as Form) ?? { gas: NaN, bytes: NaN, l1: NaN };
    figures[FIGURE[figure!]!] = value;
    shapes.set(key, { ...shape, forms: shape.forms.set(form as Form, figures) });
  }
  return [...shapes.values()].sort((a, b) => Number(a.skewed) - Number(b.skewed) || a.receivers - b.receivers || a.rows - b.rows);
}

// ------------------------------------------------------------------ chart

const SHOWN: [Form, string][] = [["published, one by one", "published calls"], ["packed, a transaction a group", "tx a receiver"], ["mixed", "mixed"]];
const SIZES = [1, 10, 25, 100, 500];

export function gasChart(snapshot: Snapshot): Chart {
  const payouts = payoutsOf(snapshot).filter(({ skewed, rows }) => !skewed && SIZES.includes(rows));
  const panel = (receivers: number, title: string, value: (figures: Figures, rows: number) => number): Panel => ({
    title,
    axis: "rows in the batch",
    groups: payouts.filter((shape) => shape.receivers === receivers).map(({ rows, forms }) => ({ label: String(rows), values: SHOWN.map(([form]) => value(forms.get(form)!, rows)) })),
  });
  const over = (receivers: number) => `${receivers} receiver${receivers === 1 ? "" : "s"}`;
  return {
    title: "Claimed and paid out: gas and L1 bytes a row (less is better)",
    subtitle: "Whole transactions, test USDC. Published calls: claimWithSignature, then a settle a receiver. Tx a receiver: claimPacked and settle. Mixed: one transaction.",
    series: SHOWN.map(([, name]) => name),
    panels: [
      ...[1, 10, 100].map((receivers) => panel(receivers, `Thousand gas a row, ${over(receivers)}`, ({ gas }, rows) => gas / rows / 1000)),
      ...[1, 10, 100].map((receivers) => panel(receivers, `L1 bytes a row, ${over(receivers)}`, ({ l1 }) => l1)),
    ],
  };
}

export async function readKept(): Promise<Snapshot> {
  return JSON.parse(await readFile(SNAPSHOT, "utf8")) as Snapshot;
}

export const readChart = (): Promise<string> => readFile(CHART, "utf8");

export async function writeChart(): Promise<void> {
  await writeFile(CHART, chartSvg(gasChart(await readKept())));
}

// ------------------------------------------------------------------ table

/** A line a shape: gas a row of every form, the least in bold, and what the least is beside paying each row out alone. */
export function payoutTable(snapshot: Snapshot): string[] {
  const payouts = payoutsOf(snapshot);
  const alone = leastOf(payouts.find(({ rows }) => rows === 1)!);
  const lines = payouts.map((shape) => {
    const least = leastOf(shape);
    const cells = FORMS.map((form) => {
      const { gas } = shape.forms.get(form)!;
      const text = Math.round(gas / shape.rows).toLocaleString("en-US");
      return gas === least ? `**${text}**` : gas > alone * shape.rows ? `${text} (loses)` : text;
    });
    return [shape.rows, shape.skewed ? `${shape.receivers}, one with ${shape.rows - shape.receivers + 1}` : shape.receivers, ...cells, (least / (alone * shape.rows)).toFixed(2)];
  });
  const row = (cells: (string | number)[]) => `| ${cells.join(" | ")} |`;
  const head = ["rows", "receivers", ...FORMS, "best beside alone"];
  return [row(head), `|${head.map(() => "---:").join("|")}|`, ...lines.map(row)];
}

const leastOf = ({ forms }: KeptPayout): number => Math.min(...[...forms.values()].map(({ gas }) => gas));
