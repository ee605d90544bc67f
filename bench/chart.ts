// Bar charts as plain SVG, readable on light and dark pages: colours follow the reader's scheme, every bar says its number.

export type Bar = { label: string; value: number };
export type Panel = {
  title: string;
  /** What the bars measure, with its unit. */
  axis: string;
  /** Groups along the axis, each with the bars of all series in order; NaN leaves a gap. */
  groups: { label: string; values: number[] }[];
  /** For values that differ by orders of magnitude. */
  logarithmic?: boolean;
};
export type Chart = { title: string; subtitle: string; series: string[]; panels: Panel[] };

const WIDTH = 360;
const HEIGHT = 260;
const PLOT = { left: 58, right: 12, top: 34, bottom: 46 };
const HEAD = 84;

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 17px; font-weight: 600; } .panel { font-weight: 600; } .small { font-size: 10.5px; fill: #59636e; }
  .grid { stroke: #d1d9e0; } .s0 { fill: #c8571b; } .s1 { fill: #4b7bb5; } .s2 { fill: #3f8f5f; } .s3 { fill: #8663b3; } .page { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .small { fill: #9198a1; } .grid { stroke: #3d444d; } .page { fill: #0d1117; }
    .s0 { fill: #ee8a4d; } .s1 { fill: #77a7e0; } .s2 { fill: #6dbd8d; } .s3 { fill: #b294dc; }
  }`;

export function chartSvg({ title, subtitle, series, panels }: Chart): string {
  const perRow = Math.min(3, panels.length);
  const rows = Math.ceil(panels.length / perRow);
  const [width, height] = [perRow * WIDTH, HEAD + rows * HEIGHT];
  const legend = series.map((name, index) => `<rect class="s${index}" x="${16 + index * 130}" y="60" width="11" height="11" rx="2"/><text x="${32 + index * 130}" y="70">${escaped(name)}</text>`);
  const drawn = panels.map((panel, index) => `<g transform="translate(${(index % perRow) * WIDTH} ${HEAD + Math.floor(index / perRow) * HEIGHT})">${panelSvg(panel)}</g>`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(title)}">`,
    `<style>${STYLE}</style>`,
    `<rect class="page" width="${width}" height="${height}"/>`,
    `<text class="title" x="16" y="26">${escaped(title)}</text><text class="small" x="16" y="45">${escaped(subtitle)}</text>`,
    ...legend, ...drawn, "</svg>", "",
  ].join("\n");
}

function panelSvg({ title, axis, groups, logarithmic = false }: Panel): string {
  const plot = { width: WIDTH - PLOT.left - PLOT.right, height: HEIGHT - PLOT.top - PLOT.bottom };
  const values = groups.flatMap((group) => group.values).filter((value) => Number.isFinite(value));
  const ticks = logarithmic ? decades(values) : steps(Math.max(...values, 0));
  const [low, high] = [logarithmic ? ticks[0]! : 0, ticks.at(-1)!];
  const share = (value: number) => (logarithmic ? Math.log10(Math.max(value, low) / low) / Math.log10(high / low) : value / high);
  const y = (value: number) => PLOT.top + plot.height * (1 - share(value));
  const lines = ticks.map((tick) => `<line class="grid" x1="${PLOT.left}" x2="${WIDTH - PLOT.right}" y1="${fixed(y(tick))}" y2="${fixed(y(tick))}"/><text class="small" text-anchor="end" x="${PLOT.left - 5}" y="${fixed(y(tick) + 4)}">${shown(tick)}</text>`);
  const groupWidth = plot.width / groups.length;
  const bars = groups.flatMap(({ label, values: own }, index) => {
    const barWidth = Math.min(46, (groupWidth - 10) / own.length);
    const from = PLOT.left + index * groupWidth + (groupWidth - barWidth * own.length) / 2;
    const drawn = own.map((value, at) => (Number.isFinite(value) ? bar(value, at, from + at * barWidth, barWidth) : ""));
    return [...drawn, `<text text-anchor="middle" x="${fixed(PLOT.left + (index + 0.5) * groupWidth)}" y="${HEIGHT - PLOT.bottom + 16}">${escaped(label)}</text>`];
  });
  function bar(value: number, at: number, x: number, barWidth: number): string {
    const top = y(value);
    return `<rect class="s${at}" x="${fixed(x + 1)}" y="${fixed(top)}" width="${fixed(barWidth - 2)}" height="${fixed(Math.max(1, PLOT.top + plot.height - top))}" rx="2"/><text class="small" text-anchor="middle" x="${fixed(x + barWidth / 2)}" y="${fixed(top - 4)}">${shown(value)}</text>`;
  }
  return [
    `<text class="panel" x="16" y="16">${escaped(title)}</text>`, ...lines, ...bars,
    `<text class="small" text-anchor="middle" x="${PLOT.left + plot.width / 2}" y="${HEIGHT - PLOT.bottom + 34}">${escaped(axis)}</text>`,
  ].join("");
}

/** Four or five round steps from 0 to above the highest value. */
function steps(highest: number): number[] {
  if (highest <= 0) return [0, 1];
  const rough = highest / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough)!;
  return Array.from({ length: Math.ceil((highest * 1.08) / step) + 1 }, (_, index) => index * step);
}

function decades(values: number[]): number[] {
  const positive = values.filter((value) => value > 0);
  const from = Math.floor(Math.log10(Math.min(...positive)));
  const to = Math.max(from + 1, Math.ceil(Math.log10(Math.max(...positive) * 1.3)));
  return Array.from({ length: to - from + 1 }, (_, index) => 10 ** (from + index));
}

function shown(value: number): string {
  if (value !== 0 && Math.abs(value) < 10) return String(Number(value.toPrecision(2)));
  return Math.round(value).toLocaleString("en-US");
}

const fixed = (value: number): string => value.toFixed(1);
const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
