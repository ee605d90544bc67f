// Where an API is and what it says of itself: an origin with or without an OpenAPI document, or such a document, read within bounds.
import { readFile, stat } from "node:fs/promises";
import { MAX_OPENAPI_BYTES, readOpenApi, type Derived } from "../bazaar/openapi.ts";
import { CliError, messageOf, usageError } from "./exit.ts";
import { httpUrl } from "./settings.ts";

export type ApiSource = { origin: string; derived: Derived | undefined };

const TIMEOUT_MS = 5_000;

/** @param given an origin, or an OpenAPI document's file or URL. `origin`: where the API is, when the document does not say. */
export async function readApiSource(given: string, origin: string | undefined, signal: AbortSignal): Promise<ApiSource> {
  const isUrl = /^https?:\/\//i.test(given);
  if (!isUrl && !/\.json$/i.test(given)) return { origin: originOf(given), derived: undefined };
  if (!isUrl) return fromDocument(await readDocumentFile(given), origin, undefined);
  if (/\.json$/i.test(new URL(httpUrl(given, "The origin")).pathname)) {
    const text = await fetchDocument(given, signal);
    if (text === undefined) throw new CliError({ code: "openapi_unreadable", exit: "failed", detail: `There is no OpenAPI document at ${given}.` });
    return fromDocument(text, origin, given);
  }
  const text = await fetchDocument(`${originOf(given)}/openapi.json`, signal);
  return { origin: originOf(given), derived: text === undefined ? undefined : readOpenApi(text) };
}

const originOf = (given: string): string => httpUrl(given, "The origin").replace(/\/+$/, "");

function fromDocument(text: string, origin: string | undefined, at: string | undefined): ApiSource {
  const derived = readOpenApi(text);
  const found = origin ?? derived.server ?? (at === undefined ? undefined : new URL(at).origin);
  if (found === undefined) throw usageError("The document names no server with an http or https URL.", "Say where the API is: --origin https://api.example");
  return { origin: originOf(found), derived };
}

async function readDocumentFile(path: string): Promise<string> {
  const { size } = await stat(path).catch(() => {
    throw usageError(`${path} cannot be read.`, undefined, "file_unreadable");
  });
  if (size > MAX_OPENAPI_BYTES) throw usageError(`${path} is larger than ${MAX_OPENAPI_BYTES} bytes.`, undefined, "openapi_too_large");
  return readFile(path, "utf8");
}

/** Undefined where there is none. @throws CliError `origin_unreachable`, `openapi_too_large`. */
async function fetchDocument(url: string, signal: AbortSignal): Promise<string | undefined> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  try {
    const response = await fetch(url, { headers: { accept: "application/json" }, redirect: "manual", signal: bounded });
    if (!response.ok || !/json/i.test(response.headers.get("content-type") ?? "")) return void (await response.body?.cancel());
    const text = await boundedText(response);
    return /"openapi"\s*:/.test(text) ? text : undefined;
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError({ code: "origin_unreachable", exit: "unreachable", retry: "safe", detail: `${new URL(url).origin} does not answer within ${TIMEOUT_MS} ms (${messageOf(error)}).`, hint: "Start the API first." });
  }
}

async function boundedText(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += part.length;
    // Leaving the loop ends the connection.
    if (size > MAX_OPENAPI_BYTES) throw new CliError({ code: "openapi_too_large", exit: "failed", detail: `The OpenAPI document is larger than ${MAX_OPENAPI_BYTES} bytes.` });
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}
