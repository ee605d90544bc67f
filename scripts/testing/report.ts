// What a test process tells the runner over IPC.

/** Sent after every test, so that the runner can show where it is; the last one has `done`. */
export type Report = { passed: number; failed: number; done: boolean };

export function send(report: Report): void {
  process.send?.(report);
}

/** A test process whose runner is gone has nobody to report to. */
export function endWithRunner(): void {
  process.on("disconnect", () => process.exit(1));
  process.channel?.unref();
}

/** Reports and ends: servers that a test left open must not keep the process. */
export function finish(counts: { passed: number; failed: number }): void {
  if (process.send === undefined) process.exit(counts.failed > 0 ? 1 : 0);
  process.send({ ...counts, done: true } satisfies Report, () => process.exit(counts.failed > 0 ? 1 : 0));
}
