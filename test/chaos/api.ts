// The relayers' API as a patient client uses it: asks whichever of them answers, sends the same request again until somebody decided it, and gives
// up when its time is over. What it gave up on may have happened or not.
import { setTimeout as sleep } from "node:timers/promises";
import type { Buyer } from "./buyer.ts";

/** As the relayers call themselves, and so what is signed to sign in. */
export const PUBLIC_URL = "http://chaos.test";

const ASK_MOST_MS = 4_000;
const RETRY_MS = 120;

export class TimeIsOver extends Error {}

/** `fetch` for clients of the SDK at PUBLIC_URL. */
export function patientFetch(buyer: Buyer, isOver: () => boolean): typeof fetch {
  return async (input, init) => {
    const { pathname, search } = new URL(String(input));
    for (; !isOver(); await sleep(RETRY_MS)) {
      const answer = await once(`${buyer.server()}${pathname}${search}`, init).catch(() => undefined);
      if (answer !== undefined && answer.status < 500) return answer;
    }
    throw new TimeIsOver();
  };
}

/** The whole answer, or none. */
async function once(url: string, init: RequestInit | undefined): Promise<Response> {
  const { status, headers, body } = await fetch(url, { ...init, signal: AbortSignal.timeout(ASK_MOST_MS) }).then(async (response) => ({ status: response.status, headers: response.headers, body: await response.arrayBuffer() }));
  return new Response(status === 204 ? null : body, { status, headers });
}
