// Tells endpoints what happens to their owner: in order, at least once, signed. Addresses are others' choice, so all goes through `outbound`.
import { randomBytes } from "node:crypto";
import type { Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { idOf } from "../events/service.ts";
import { eventsAfter, newestPosition, type StoredEvent } from "../events/store.ts";
import { isWanted, MOST_ATTEMPTS, pauseAfter, signatureOf } from "./logic.ts";
import * as store from "./store.ts";
import type { DueWebhook, Webhook } from "./store.ts";

export type HookDeps = Pick<Deps, "db" | "log" | "now" | "outbound" | "vault">;

const MOST_HOOKS = 10;
const BATCH = 20;
const EVENTS_A_TURN = 20;
const TIMEOUT_MS = 10_000;
/** An endpoint that takes its time has its next events with its next turn: the others' turns wait for the slowest. */
const TURN_MOST_MS = TIMEOUT_MS;
/** Longer than a turn and the delivery that it ends with. */
const LEASE_S = 60;
const MOST_ANSWER_BYTES = 4_096;
/** Between looks at one owner's events. */
const IDLE_S = 1;
const KEPT_S = 7 * 86_400;

/** @returns the secret too, which is shown only now. @throws TallystickError 400 `request_malformed`, 429 `webhooks_full`. */
export async function addWebhook({ db, vault, log }: HookDeps, owner: Address, url: string, kinds: string[]): Promise<Webhook & { secret: string }> {
  checkUrl(url);
  const webhookId = `whk_${randomBytes(16).toString("hex")}`;
  const secret = `whs_${randomBytes(32).toString("hex")}`;
  const hook = { webhookId, owner, url, kinds };
  if (!(await store.insertWebhook(db, hook, vault.seal(webhookId, Buffer.from(secret)), await newestPosition(db), MOST_HOOKS))) {
    throw new TallystickError({ code: "webhooks_full", status: 429, retry: "never", detail: `You have ${MOST_HOOKS} webhooks; delete one first.` });
  }
  log.info({ event: EVENT.webhookAdded, webhookId }, "webhook added");
  return { ...hook, createdAt: new Date(), disabledAt: undefined, secret };
}

function checkUrl(url: string): void {
  const malformed = (detail: string) => new TallystickError({ code: "request_malformed", status: 400, retry: "never", field: "url", detail });
  if (!URL.canParse(url)) throw malformed("The url is no URL.");
  const { protocol, username, password, hash } = new URL(url);
  if (!/^https?:$/.test(protocol) || username !== "" || password !== "" || hash !== "") throw malformed("The url is http or https, without credentials and fragment.");
}

export const webhooksOf = ({ db }: HookDeps, owner: Address): Promise<Webhook[]> => store.listWebhooks(db, owner);
export const deliveriesOf = ({ db }: HookDeps, owner: Address, webhookId: string) => store.listDeliveries(db, owner, webhookId, 100);

/** @throws TallystickError 404 `webhook_unknown`. */
export async function removeWebhook({ db }: HookDeps, owner: Address, webhookId: string): Promise<void> {
  if (!(await store.deleteWebhook(db, owner, webhookId))) throw unknownHook(webhookId);
}

/** One that was retired is told again, from the event that it did not take; one that waits for its next attempt has it now. @throws TallystickError 404 `webhook_unknown`. */
export async function enableWebhook({ db, log }: HookDeps, owner: Address, webhookId: string): Promise<Webhook> {
  const hook = await store.enable(db, owner, webhookId);
  if (hook === undefined) throw unknownHook(webhookId);
  log.info({ event: EVENT.webhookEnabled, webhookId }, "webhook enabled");
  return hook;
}

const unknownHook = (webhookId: string) => new TallystickError({ code: "webhook_unknown", status: 404, retry: "never", field: "webhookId", detail: `No webhook ${webhookId} of yours.` });

/** One pass, for the sweeper; over several processes each webhook is one's at a time. */
export async function deliverWebhooks(deps: HookDeps): Promise<void> {
  await Promise.all((await store.leaseWebhooks(deps.db, BATCH, LEASE_S)).map((hook) => takeTurn(deps, hook)));
}

export async function sweepDeliveries({ db }: Pick<Deps, "db">): Promise<void> {
  await store.deleteOldDeliveries(db, KEPT_S);
}

/** Some events, in order, until one is not taken. */
async function takeTurn(deps: HookDeps, hook: DueWebhook): Promise<void> {
  const { db, vault } = deps;
  const secret = vault.open(hook.webhookId, hook.sealedSecret).toString();
  const began = performance.now();
  for (const event of await eventsAfter(db, hook.owner, hook.told, EVENTS_A_TURN)) {
    if (isWanted(hook.kinds, event.kind) && !(await deliver(deps, hook, secret, event))) return;
    await store.advance(db, hook.webhookId, event);
    hook.attempts = 0;
    if (performance.now() - began > TURN_MOST_MS) break;
  }
  await store.release(db, hook.webhookId, IDLE_S);
}

/** @returns true when the event is done with: taken. One that nobody takes for days stops its webhook. */
async function deliver(deps: HookDeps, { webhookId, url, attempts }: DueWebhook, secret: string, event: StoredEvent): Promise<boolean> {
  const id = idOf(event);
  const body = JSON.stringify({ id, kind: event.kind, at: event.at.toISOString(), data: event.data });
  const answer = await post(deps, url, { id, body, signature: signatureOf(secret, Math.floor(deps.now().getTime() / 1000), body) });
  const attempt = attempts + 1;
  await store.recordDelivery(deps.db, webhookId, { event, kind: event.kind, attempt, ...answer });
  if (answer.fault === undefined) return true;
  deps.log.info({ event: EVENT.webhookFailed, webhookId, attempt, code: answer.fault }, "webhook not taken");
  await store.countFailure(deps.db, webhookId);
  if (attempt >= MOST_ATTEMPTS) {
    await store.disable(deps.db, webhookId);
    deps.log.warn({ event: EVENT.webhookRetired, webhookId, attempt, code: answer.fault }, "webhook retired: nobody takes what it is told");
  } else await store.release(deps.db, webhookId, pauseAfter(attempt));
  return false;
}

async function post({ outbound }: HookDeps, url: string, { id, body, signature }: { id: string; body: string; signature: string }): Promise<{ status: number | undefined; fault: string | undefined }> {
  try {
    const headers = { "content-type": "application/json", "tallystick-signature": signature, "tallystick-event": id, "user-agent": "Tallystick-Webhooks" };
    const { status } = await outbound.fetch({ method: "POST", url, headers, body: Buffer.from(body), timeoutMs: TIMEOUT_MS, maxBytes: MOST_ANSWER_BYTES });
    return { status, fault: status >= 200 && status < 300 ? undefined : "webhook_status" };
  } catch (error) {
    if (error instanceof TallystickError) return { status: undefined, fault: error.code };
    throw error;
  }
}
