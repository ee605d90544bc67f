// How a request becomes the one we forward, price and remember. Pure. What is priced is exactly what is forwarded.
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { framedHash } from "../ledger/logic.ts";

/** RFC 9110 7.6.1, and what proxies add by custom. */
const HOP_BY_HOP = new Set(["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]);
const PAYMENT = /^(x-)?payment(-|$)|^x-402-|^settlement-overrides$|^sign-in-with-x$|^extension-responses$|^tallystick-/;
/** Headers that undici or we set ourselves. */
const OURS = new Set(["host", "content-length", "expect", "date", "access-control-expose-headers"]);

type Headers = Record<string, string | string[] | undefined>;

/** A session's token is this relayer's business. */
const OUR_BEARER = /^bearer\s+tsn_/i;

/** Headers to pass on, in either direction: no hop-by-hop, no payment, nothing the Connection header names. */
export function forwardable(headers: Headers): Record<string, string | string[]> {
  const named = new Set(String(headers["connection"] ?? "").toLowerCase().split(",").map((name) => name.trim()));
  const kept = Object.entries(headers).filter(([name, value]) => {
    const lower = name.toLowerCase();
    return value !== undefined && !HOP_BY_HOP.has(lower) && !OURS.has(lower) && !PAYMENT.test(lower) && !named.has(lower) && !(lower === "authorization" && OUR_BEARER.test(String(value)));
  });
  return Object.fromEntries(kept) as Record<string, string | string[]>;
}

/**
 * The path and query below /s/<service>, as they are priced, hashed and forwarded.
 * @throws TallystickError 400 `path_refused` for anything two parsers could read differently.
 */
export function normalisePath(rawUrl: string, service: string): string {
  const refuse = (detail: string) => new TallystickError({ code: "path_refused", status: 400, retry: "never", field: "path", detail });
  const prefix = `/s/${service}`;
  if (!rawUrl.startsWith(prefix)) throw refuse("The request target must be a plain path.");
  const rest = rawUrl.slice(prefix.length);
  const query = rest.indexOf("?");
  const path = query === -1 ? rest : rest.slice(0, query);
  if (path !== "" && !path.startsWith("/")) throw refuse("The path must start with a slash.");
  if (!/^[\x21-\x7e]*$/.test(rest) || /[\\#]/.test(rest)) throw refuse("The path holds a character that must be percent-encoded.");
  if (/%(?![0-9a-fA-F]{2})/.test(path)) throw refuse("The path holds a broken percent-encoding.");
  if (/%(2f|5c|2e|25|3b|[01][0-9a-f]|7f)/i.test(path)) throw refuse("The path holds an encoded slash, backslash, dot, percent, semicolon or control character.");
  if (path.split("/").some((segment) => segment === "." || segment === "..")) throw refuse("The path holds a dot segment.");
  if (path.includes("//")) throw refuse("The path holds an empty segment.");
  return rest;
}

/** sdk/src/receipt.ts inputHash, by native code: what a replay is compared by. `target` is path and query as sent. */
export function requestHash(method: string, target: string, contentType: string, body: Uint8Array): Hex {
  return framedHash([method, target, contentType], body);
}

/** Merges `private` into an answer's Cache-Control: it was paid for by one buyer. */
export function privateCacheControl(value: string | string[] | undefined): string {
  const directives = String(value ?? "").split(",").map((part) => part.trim()).filter((part) => part !== "" && !/^(public|s-maxage=.*)$/i.test(part));
  return directives.some((part) => /^private$/i.test(part)) ? directives.join(", ") : ["private", ...directives].join(", ");
}
