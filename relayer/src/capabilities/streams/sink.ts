// Where the bytes of a stream leave: the buyer's connection, as slow as it is, until it is gone.
import { once } from "node:events";
import { PassThrough } from "node:stream";

export type Sink = {
  /** What the route sends. */
  readonly body: PassThrough;
  readonly gone: AbortSignal;
  /** Returns when the connection took the bytes. @returns false when the buyer is gone, or takes nothing for `stallMs`. */
  send(bytes: Uint8Array): Promise<boolean>;
  end(): void;
  /** Breaks the connection off: no reader may take what it got for the whole. */
  breakOff(): void;
};

/** @param gone aborts when the buyer's connection closes. */
export function createSink(gone: AbortSignal, stallMs: number): Sink {
  const body = new PassThrough();
  const stalled = new AbortController();
  const over = AbortSignal.any([gone, stalled.signal]);
  // Destroyed under us when the connection closes; `gone` tells.
  body.on("error", () => {});
  body.on("close", () => stalled.abort());
  return {
    body,
    gone: over,
    async send(bytes) {
      if (over.aborted || body.destroyed) return false;
      if (bytes.length === 0 || body.write(bytes)) return true;
      try {
        await once(body, "drain", { signal: AbortSignal.any([over, AbortSignal.timeout(stallMs)]) });
        return true;
      } catch {
        stalled.abort(); // gone, or it stopped reading
        body.destroy();
        return false;
      }
    },
    end: () => void body.end(),
    breakOff: () => void body.destroy(new Error("the stream broke off")),
  };
}
