// Keeps a provider's own copy of its vouchers, as they are charged: follows the relayer's export, checks every signature, and has each
// line on the disk before it goes on. What is on the disk can be claimed without the relayer.
import { setTimeout as sleep } from "node:timers/promises";
import { TallystickError } from "../errors.ts";
import { SseSplitter, type SseEvent } from "../sse.ts";
import type { RelayerClient } from "./relayer-client.ts";
import type { VoucherFile } from "./voucher-files-node.ts";
import { isNewer, readVoucherLine, verifyVoucherLine, type Expected, type VoucherLine } from "./voucher-line.ts";

export type ExportOptions = {
  client: RelayerClient;
  file: VoucherFile;
  /** Lines of other receivers, contracts or chains are refused. */
  expected: Expected;
  /** Told of lines that are no good, of a file that cannot be written, and of a relayer that is away. */
  onProblem: (error: unknown) => void;
  signal: AbortSignal;
};

/** The relayer says something every 15 seconds. */
const SILENCE_MS = 45_000;
const BACKOFF_MS = { first: 250, most: 10_000 };

/** Runs until the signal aborts; never throws. Begins with everything, since the relayer's database may have been replaced meanwhile. */
export async function followVouchers(options: ExportOptions): Promise<void> {
  const { signal, onProblem } = options;
  let cursor: string | undefined;
  for (let wait = BACKOFF_MS.first; !signal.aborted; wait = Math.min(2 * wait, BACKOFF_MS.most)) {
    try {
      for await (const read of readStream(options, cursor)) {
        cursor = read;
        wait = BACKOFF_MS.first;
      }
    } catch (error) {
      if (signal.aborted) return;
      onProblem(error);
    }
    await sleep(wait, undefined, { signal }).catch(() => {}); // aborted: the loop ends
  }
}

/** One connection. Yields the cursor of what is on the disk. */
async function* readStream({ client, file, expected, onProblem, signal }: ExportOptions, cursor: string | undefined): AsyncGenerator<string> {
  const silent = new AbortController();
  const quiet = AbortSignal.any([signal, silent.signal]);
  let timer = setTimeout(() => silent.abort(), SILENCE_MS);
  try {
    const response = await client.open("/api/v1/vouchers/export", { accept: "text/event-stream", ...(cursor === undefined ? {} : { "last-event-id": cursor }) }, quiet);
    const splitter = new SseSplitter();
    for await (const bytes of response.body ?? []) {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENCE_MS);
      const events = splitter.push(bytes).filter(({ event, data }) => event === "voucher" && data !== undefined);
      await file.append(await goodLines(events, { file, expected, onProblem }));
      const id = events.findLast((event) => event.id !== undefined)?.id;
      if (id !== undefined) yield id;
    }
  } catch (error) {
    if (silent.signal.aborted) throw new TallystickError({ code: "export_silent", status: 504, retry: "safe", detail: `The relayer was silent for ${SILENCE_MS} ms.`, cause: error });
    throw error;
  } finally {
    clearTimeout(timer);
    silent.abort(); // closes the connection, however we leave
  }
}

/** A line that is no good is told and left out: it could not be claimed, and the others go on. */
async function goodLines(events: readonly SseEvent[], { file, expected, onProblem }: Pick<ExportOptions, "file" | "expected" | "onProblem">): Promise<VoucherLine[]> {
  const good: VoucherLine[] = [];
  for (const { data } of events) {
    try {
      const line = readVoucherLine(JSON.parse(data!));
      const known = file.newest(line.channelId);
      if (!isNewer(line, known)) {
        mustNotFall(line, known);
        continue;
      }
      await verifyVoucherLine(line, expected);
      good.push(line);
    } catch (error) {
      onProblem(error);
    }
  }
  return good;
}

/** A relayer that knows less than we do has lost its ledger. Our line stands. */
function mustNotFall(line: VoucherLine, known: VoucherLine | undefined): void {
  if (known === undefined || line.totalCharged === known.totalCharged) return;
  throw new TallystickError({
    code: "voucher_regressed", status: 502, retry: "never", field: "totalCharged",
    detail: `The relayer says that channel ${line.channelId} was charged ${line.totalCharged}; ${known.totalCharged} is on file and signed for.`,
  });
}
