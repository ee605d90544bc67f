// Loaded before everything else (--import): a process whose clock is CLOCK_MS wrong.
const right = globalThis.Date;
const byMs = Number(process.env.CLOCK_MS ?? 0);

globalThis.Date = class extends right {
  constructor(...args: [] | [number | string | Date]) {
    super(...(args.length === 0 ? ([right.now() + byMs] as [number]) : (args as [number])));
  }
  static override now(): number {
    return right.now() + byMs;
  }
} as DateConstructor;
