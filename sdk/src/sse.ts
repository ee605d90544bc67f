// Server-sent events, cut out of bytes as they arrive (WHATWG HTML, 9.2). The bytes of each event are kept as they came, so that
// what passes on, what is stored and what is hashed are the same. Browser-safe; the relayer and buyers run this very code.

export type SseEvent = {
  /** The event as it was written, its blank line included. */
  raw: Uint8Array;
  /** `message` when the event names none. */
  event: string;
  /** Undefined for a block of comments: it keeps the connection alive and says nothing. */
  data: string | undefined;
  /** Where a reader resumes; undefined when the event has none. */
  id: string | undefined;
  /** The field `tallystick-units`, which other readers ignore; undefined when it is absent, NaN when it is no whole number. */
  units: number | undefined;
};

const LF = 10;
const CR = 13;
const decoder = new TextDecoder();

/** Largest event that is held in memory. */
export const MAX_EVENT_BYTES = 1024 * 1024;

/** Cuts a byte stream into events. What is left at the end without its blank line is no event, as the standard says. */
export class SseSplitter {
  #held: Uint8Array = new Uint8Array();
  /** Where the line that is being read starts, and how far it was looked at. */
  #line = 0;
  #at = 0;

  /** @throws RangeError when an event is larger than MAX_EVENT_BYTES. */
  push(bytes: Uint8Array): SseEvent[] {
    this.#held = joined(this.#held, bytes);
    const events: SseEvent[] = [];
    let start = 0;
    for (;;) {
      const end = this.#lineEnd();
      if (end === undefined) break;
      const blank = end.text === this.#line;
      this.#line = this.#at = end.next;
      if (!blank) continue;
      const raw = this.#held.slice(start, end.next);
      start = end.next;
      events.push(readEvent(raw));
    }
    this.#held = this.#held.subarray(start);
    this.#line -= start;
    this.#at -= start;
    if (this.#held.length > MAX_EVENT_BYTES) throw new RangeError(`an event is larger than ${MAX_EVENT_BYTES} bytes`);
    return events;
  }

  /** The end of the next line; a CR at the very end waits, since a LF may follow. */
  #lineEnd(): { text: number; next: number } | undefined {
    for (; this.#at < this.#held.length; this.#at++) {
      const byte = this.#held[this.#at];
      if (byte === LF) return { text: this.#at, next: this.#at + 1 };
      if (byte !== CR) continue;
      if (this.#at + 1 === this.#held.length) return undefined;
      return { text: this.#at, next: this.#at + (this.#held[this.#at + 1] === LF ? 2 : 1) };
    }
    return undefined;
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function readEvent(raw: Uint8Array): SseEvent {
  const data: string[] = [];
  let event = "message";
  let id: string | undefined;
  let units: number | undefined;
  for (const line of decoder.decode(raw).split(/\r\n|\n|\r/)) {
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") data.push(value);
    else if (field === "event" && value !== "") event = value;
    else if (field === "id") id = value;
    else if (field === "tallystick-units") units = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
  }
  return { raw, event, data: data.length === 0 ? undefined : data.join("\n"), id, units };
}

/** An event as it is written: data may have several lines. */
export function writeEvent(event: string, data: string): Uint8Array {
  return new TextEncoder().encode(`event: ${event}\n${data.split("\n").map((line) => `data: ${line}\n`).join("")}\n`);
}
