// Reads the metadata documents of services: those stored here by their hash, others from the address that the registry names. That address was
// chosen by a stranger, so it is asked through `outbound`, and only bytes that hash to what the chain says count.
import { keccak256, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { MAX_METADATA_BYTES, readDocument } from "./document.ts";
import * as store from "./document-store.ts";

type DocumentDeps = Pick<Deps, "config" | "db" | "outbound" | "log">;

const AT_ONCE = 16;
const MOST_A_ROUND = 200;
/** Longer than a round can take. */
const LEASE_S = 300;
const TIMEOUT_MS = 5_000;
const LONGEST_WAIT_S = 6 * 3600;
const VIEW_BYTES = 262_144;

/** Reads what is stored here already. @returns how many were looked at. */
export const readStored = (deps: DocumentDeps): Promise<number> => readRound(deps, true);

/** For the sweeper, by itself: slow addresses hold up nobody but each other. @returns how many were looked at. */
export const fetchDocuments = (deps: DocumentDeps): Promise<number> => readRound(deps, false);

async function readRound(deps: DocumentDeps, here: boolean): Promise<number> {
  const unread = await store.takeUnread(deps.db, here, MOST_A_ROUND, LEASE_S);
  const next = unread.values();
  const lane = async (): Promise<void> => {
    for (const service of next) await readOne(deps, service);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return unread.length;
}

async function readOne(deps: DocumentDeps, service: store.Unread): Promise<void> {
  try {
    const body = service.body ?? (await fetchDocument(deps, service.uri, service.contentHash));
    const document = readDocument(body, service.contentHash, service);
    const url = service.soldHere ? undefined : await urlElsewhere(deps, service);
    await store.setDocument(deps.db, service, document, url);
  } catch (error) {
    if (!(error instanceof TallystickError)) throw error;
    await store.setUnreadable(deps.db, service, error.code, Math.min(LONGEST_WAIT_S, 30 * 4 ** Math.min(service.attempts, 6)));
    deps.log.debug({ event: EVENT.failure, serviceId: service.serviceId, code: error.code }, "metadata not read");
  }
}

/** @throws TallystickError 400 `metadata_uri_refused`, `metadata_hash_mismatch`; 502, 504 as outbound. */
async function fetchDocument(deps: DocumentDeps, uri: string, contentHash: Hex): Promise<Uint8Array> {
  const body = await get(deps, httpUrl(uri), MAX_METADATA_BYTES);
  if (keccak256(body) !== contentHash) throw fault("metadata_hash_mismatch", "The address answers something else than the registry's document.");
  await store.keepDocument(deps.db, contentHash, body);
  return body;
}

const LISTED_ELSEWHERE = /^(https?:\/\/[^/]+(?:\/[^?#]*)?)\/api\/v1\/metadata\/0x[0-9a-f]{64}$/;

/**
 * Where buyers call a service that another relayer sells: that relayer says so, under the very origin that the owner signed. A wrong answer
 * costs the buyer nothing: whoever pays compares the 402 with the registry's terms, and so does the prober.
 */
async function urlElsewhere(deps: DocumentDeps, { uri, serviceId }: store.Unread): Promise<string | undefined> {
  const [, base] = LISTED_ELSEWHERE.exec(uri) ?? [];
  if (base === undefined || base === deps.config.publicUrl) return undefined;
  const url = urlIn((await get(deps, `${base}/api/v1/agents/${serviceId}`, VIEW_BYTES)).toString());
  return url === undefined ? undefined : httpUrl(url);
}

function urlIn(json: string): string | undefined {
  try {
    const url = (JSON.parse(json) as { url?: unknown } | null)?.url;
    return typeof url === "string" && url.length <= 2_048 ? url : undefined;
  } catch {
    return undefined; // no JSON
  }
}

async function get({ outbound }: DocumentDeps, url: string, maxBytes: number): Promise<Buffer> {
  const { status, body } = await outbound.fetch({ method: "GET", url, headers: { accept: "application/json" }, timeoutMs: TIMEOUT_MS, maxBytes });
  if (status !== 200) throw fault("metadata_not_there", `The address answers ${status}.`);
  return body;
}

/** @throws TallystickError 400 `metadata_uri_refused`. */
function httpUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") throw fault("metadata_uri_refused", "Documents are read from http and https addresses without credentials.");
  return url.href;
}

function fault(code: string, detail: string): TallystickError {
  return new TallystickError({ code, status: 400, retry: "never", field: "uri", detail });
}
