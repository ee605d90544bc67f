// Two small ways of doing things at once, or not.

/** Runs `work` for each item, at most `width` at a time. Rejects with the first failure. */
export async function eachOf<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const worker = async () => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
}

/** One run at a time: who asks while one is under way shares the next, which begins after they asked. */
export function coalesced(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  const begin = () => {
    running = work().finally(() => (running = undefined));
    return running;
  };
  return () => {
    if (running === undefined) return begin();
    next ??= running.catch(() => {}).then(() => {
      next = undefined;
      return begin();
    });
    return next;
  };
}
