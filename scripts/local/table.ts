/** A table for a terminal: the first column to the left, numbers to the right. */
export function formatTable(head: string[], rows: string[][]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: string[]) => `  ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join("  ")}`.trimEnd();
  return [line(head), `  ${"─".repeat(widths.reduce((sum, width) => sum + width + 2, -2))}`, ...rows.map(line)].join("\n");
}
