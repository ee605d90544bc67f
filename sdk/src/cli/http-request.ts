// A request as curl would be asked for it: -X, -d, -H.
import { readFile } from "node:fs/promises";
import type { Input } from "./command.ts";
import type { Context } from "./context.ts";
import { usageError } from "./exit.ts";
import { httpUrl } from "./settings.ts";

export type HttpRequest = { url: URL; method: string; headers: Headers; body: Uint8Array<ArrayBuffer> | undefined };

/** Headers that pay or that fetch writes itself. */
const OURS = /^(?:payment-signature|x-payment|content-length|host|connection|transfer-encoding)$/i;

export async function readRequest(context: Context, { values, positionals }: Input): Promise<HttpRequest> {
  const url = new URL(httpUrl(positionals[0]!, "The URL"));
  if (url.username !== "" || url.password !== "") throw usageError("A URL must not carry a password: the process list shows it.", "Use -H 'Authorization: …'.");
  url.hash = "";
  const data = values["data"] as string | undefined;
  const body = data === undefined ? undefined : await readData(context, data);
  const headers = new Headers();
  for (const line of (values["header"] as string[] | undefined) ?? []) addHeader(headers, line);
  if (body !== undefined && !headers.has("content-type")) headers.set("content-type", isJson(body) ? "application/json" : "application/x-www-form-urlencoded");
  const method = ((values["request"] as string | undefined) ?? (body === undefined ? "GET" : "POST")).toUpperCase();
  if (!/^[A-Z]{1,20}$/.test(method)) throw usageError("-X must be an HTTP method.");
  if (body !== undefined && (method === "GET" || method === "HEAD")) throw usageError(`A ${method} has no body: leave out -d, or use -X POST.`);
  return { url, method, headers, body };
}

/** Text as it is, @file, or @- for stdin; bytes go out unchanged. */
async function readData(context: Context, data: string): Promise<Uint8Array<ArrayBuffer>> {
  if (!data.startsWith("@")) return new TextEncoder().encode(data);
  const path = data.slice(1);
  if (path === "-") return new Uint8Array(await context.surroundings.readStdin());
  return readFile(path).then((bytes) => new Uint8Array(bytes), () => {
    throw usageError(`${path} cannot be read.`, undefined, "file_unreadable");
  });
}

function addHeader(headers: Headers, line: string): void {
  const colon = line.indexOf(":");
  const name = line.slice(0, colon).trim();
  const value = line.slice(colon + 1).trim();
  if (colon < 1 || !/^[!#$%&'*+.^_`|~\w-]+$/.test(name)) throw usageError("-H must be 'Name: value'.");
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) throw usageError(`The value of ${name} has characters that a header cannot hold.`);
  if (OURS.test(name)) throw usageError(`${name} is not for you to set.`);
  headers.append(name, value);
}

function isJson(body: Uint8Array): boolean {
  try {
    return typeof JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)) === "object";
  } catch {
    return false; // text, or bytes
  }
}
