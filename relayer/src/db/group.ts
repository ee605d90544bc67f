// Group commit: calls that come while statements are under way wait and go together in the next one. A call alone goes at once, so
// waiting costs nothing when there is nothing to share; under load one commit is paid for by many calls.

export type Group<Item, Result> = (item: Item) => Promise<Result>;

type Waiting<Item, Result> = { item: Item; done: (result: Result) => void; failed: (error: unknown) => void };

/**
 * Statements under way at once. A statement of many rows costs little more than one of a few, so one that waits for the one before it and
 * takes all that came meanwhile is better than two that share it (measured: `npm run -s bench -- paid`, 11 % more calls a second).
 */
const IN_FLIGHT = 1;
/** Items in one statement. */
const MOST = 128;

/**
 * @param run gives one result an item, in order.
 * @param sharesFate true for an error that would meet every item alike (the database is away); after any other, each item is tried
 * alone, so that a bad one fails by itself.
 */
export function createGroup<Item, Result>(run: (items: Item[]) => Promise<Result[]>, sharesFate: (error: unknown) => boolean): Group<Item, Result> {
  const queue: Waiting<Item, Result>[] = [];
  let underWay = 0;
  let scheduled = false;

  function schedule(): void {
    if (scheduled || underWay >= IN_FLIGHT || queue.length === 0) return;
    scheduled = true;
    // Whatever this turn of the event loop brings goes along.
    setImmediate(() => {
      scheduled = false;
      if (underWay < IN_FLIGHT && queue.length > 0) void flush(queue.splice(0, MOST));
      schedule();
    });
  }

  async function flush(batch: Waiting<Item, Result>[]): Promise<void> {
    underWay += 1;
    try {
      await settle(batch);
    } finally {
      underWay -= 1;
      schedule();
    }
  }

  async function settle(batch: Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await run(batch.map(({ item }) => item));
      if (results.length !== batch.length) throw new Error("invariant: one result an item");
      batch.forEach(({ done }, index) => done(results[index]!));
    } catch (error) {
      if (batch.length === 1 || sharesFate(error)) for (const { failed } of batch) failed(error);
      else for (const waiting of batch) await settle([waiting]);
    }
  }

  return (item) =>
    new Promise((done, failed) => {
      queue.push({ item, done, failed });
      schedule();
    });
}
