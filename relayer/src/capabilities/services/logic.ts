// What may be listed. Pure.
import { isIP } from "node:net";
import { TallystickError } from "../../../../sdk/src/errors.ts";

/** Names that resolve to the machine or the network we run in, whatever a resolver says. */
const LOCAL_NAME = /(?:^|\.)(?:localhost|local|internal|lan|home\.arpa)\.?$/i;

export type OriginRules = { allowPrivate: boolean; ownOrigin: string; isPublic(address: string): boolean };

/**
 * The gateway would be made to call it. A name that resolves to a private address is refused when it is called (http/outbound.ts).
 * @throws TallystickError 400 `origin_refused`.
 */
export function checkOrigin(origin: string, { allowPrivate, ownOrigin, isPublic }: OriginRules): void {
  const url = new URL(origin);
  const refuse = (why: string) => new TallystickError({ code: "origin_refused", status: 400, retry: "never", field: "origin", detail: `${origin} ${why}.` });
  if (url.origin === new URL(ownOrigin).origin) throw refuse("is this relayer itself");
  if (allowPrivate) return;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (isIP(host) === 0 ? LOCAL_NAME.test(host) : !isPublic(host)) throw refuse("is on a private, loopback or reserved address");
}
