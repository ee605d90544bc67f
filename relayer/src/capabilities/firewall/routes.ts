// The firewall's own paths, each under /api/firewall and /api/v1/firewall.
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Static } from "typebox";
import { getAddress, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { eventStreams, type EventStreams } from "../../http/event-stream.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf } from "../access/service.ts";
import { idOf, readPosition } from "../events/service.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import * as approvals from "./approvals.ts";
import type { StoredApproval } from "./approval-store.ts";
import * as checks from "./check.ts";
import { following, newest } from "./events.ts";
import type { StoredEvent } from "./event-store.ts";
import * as schemas from "./schemas.ts";
import * as policies from "./service.ts";
import { simulate, type Simulation } from "./simulate.ts";
import type { StoredPolicy } from "./store.ts";

const PREFIXES = ["/api/v1/firewall", "/api/firewall"];
const signedOut = { 401: problemResponse("Not signed in") };

export function firewallRoutes(app: FastifyInstance, deps: GatewayDeps): void {
  const stream = eventStreams(app, "firewall_events");
  for (const [index, at] of PREFIXES.entries()) {
    // Shown once.
    const about = (summary: string, more: Record<string, unknown>) => ({ tags: ["firewall"], summary, ...(index === 0 ? {} : { hide: true }), ...more });
    policyRoutes(app, deps, at, about);
    approvalRoutes(app, deps, at, about);
    checkRoute(app, deps, at, about);
    eventsRoute(app, deps, at, about, stream);
  }
}

type About = (summary: string, more: Record<string, unknown>) => Record<string, unknown>;

const caller = async (deps: GatewayDeps, request: FastifyRequest): Promise<Address> => (await callerOf(deps, request)).address;

function policyRoutes(app: FastifyInstance, deps: GatewayDeps, at: string, about: About): void {
  const refused = { 400: problemResponse("Malformed; `field` names where"), 401: problemResponse("Not signed by its owner"), 409: problemResponse("Only a higher version replaces") };
  app.post<{ Body: Static<typeof schemas.ApplyBody> }>(
    `${at}/policies`,
    { bodyLimit: 1 << 20, schema: about("Put a policy in force, by its owner's signature; the same again changes nothing", { body: schemas.ApplyBody, response: { 200: schemas.PolicyView, 201: schemas.PolicyView, ...refused } }) },
    async (request, reply) => {
      const { stored, isNew } = await policies.apply(deps, request.body.policy, request.body.signature as Hex);
      return reply.code(isNew ? 201 : 200).send(policyView(stored));
    },
  );
  app.get(`${at}/policies`, { schema: about("Your policies that are in force", { response: { 200: schemas.PoliciesView, ...signedOut } }) }, async (request) => ({ policies: (await policies.list(deps, await caller(deps, request))).map(policyView) }));
  type Named = { Params: Static<typeof schemas.NameParams> };
  const unknown = { 404: problemResponse("No such policy of yours") };
  app.get<Named>(`${at}/policies/:name`, { schema: about("One of them", { params: schemas.NameParams, response: { 200: schemas.PolicyView, ...signedOut, ...unknown } }) }, async (request) =>
    policyView(await policies.show(deps, await caller(deps, request), request.params.name)),
  );
  app.get<Named>(`${at}/policies/:name/versions`, { schema: about("Every version of it that was in force, the newest first", { params: schemas.NameParams, response: { 200: schemas.PoliciesView, ...signedOut, ...unknown } }) }, async (request) => ({
    policies: (await policies.versions(deps, await caller(deps, request), request.params.name)).map(policyView),
  }));
  app.post<{ Body: Static<typeof schemas.SimulateBody> }>(
    `${at}/simulate`,
    { bodyLimit: 1 << 20, schema: about("What a policy would have changed, had it been in force", { body: schemas.SimulateBody, response: { 200: schemas.SimulateView, 400: refused[400], ...signedOut, 403: problemResponse("Not your policy") } }) },
    async (request) => {
      const { policy, from, to } = request.body;
      return simulationView(await simulate(deps, await caller(deps, request), policy, new Date(from), new Date(to)));
    },
  );
}

const policyView = ({ policy, policyHash, signature, appliedAt }: StoredPolicy) => ({ policy, policyHash, signature, appliedAt: appliedAt.toISOString() });

function simulationView({ from, to, considered, unchanged, wouldReject, wouldWait, wouldAllow, byRule, examples, truncatedAt }: Simulation) {
  const sum = ({ count, amountAtomic }: Simulation["considered"]) => ({ count, amountAtomic: String(amountAtomic) });
  return {
    from: from.toISOString(), to: to.toISOString(), considered: sum(considered), unchanged: sum(unchanged), wouldReject: sum(wouldReject), wouldWait: sum(wouldWait), wouldAllow: sum(wouldAllow),
    byRule: Object.fromEntries([...byRule].map(([rule, one]) => [rule, sum(one)])),
    examples: examples.map((example) => ({ ...example, at: example.at.toISOString(), priceAtomic: String(example.priceAtomic) })), truncatedAt: truncatedAt?.toISOString() ?? null,
  };
}

function approvalRoutes(app: FastifyInstance, deps: GatewayDeps, at: string, about: About): void {
  const { ApprovalsQuery, ApprovalParams, ApprovalView, DecideBody } = schemas;
  app.get<{ Querystring: Static<typeof ApprovalsQuery> }>(`${at}/approvals`, { schema: about("Payments that wait for a person: yours, and those that you decide", { querystring: ApprovalsQuery, response: { 200: schemas.ApprovalsView, ...signedOut } }) }, async (request) => {
    const { state, before, limit = 50 } = request.query;
    return { approvals: (await approvals.list(deps, await caller(deps, request), state, before === undefined ? undefined : new Date(before), limit)).map((one) => approvalView(deps, one)) };
  });
  type ById = { Params: Static<typeof ApprovalParams> };
  const unknown = { 404: problemResponse("No such approval of yours") };
  app.get<ById>(`${at}/approvals/:id`, { schema: about("One of them, with what to sign", { params: ApprovalParams, response: { 200: ApprovalView, ...signedOut, ...unknown } }) }, async (request) => approvalView(deps, await approvals.show(deps, await caller(deps, request), request.params.id)));
  const refused = { 401: problemResponse("Not the approver's signature"), 403: problemResponse("Not an approver"), ...unknown, 409: problemResponse("Decided, over, or its policy was replaced") };
  for (const [verb, granted] of [["grant", true], ["refuse", false]] as const) {
    app.post<ById & { Body: Static<typeof DecideBody> }>(
      `${at}/approvals/:id/${verb}`,
      { schema: about(`${granted ? "Grant" : "Refuse"} it, by an approver's signature`, { params: ApprovalParams, body: DecideBody, response: { 200: ApprovalView, ...refused } }) },
      async (request) => approvalView(deps, await approvals.decide(deps, request.params.id, granted, getAddress(request.body.approver), request.body.signature as Hex)),
    );
  }
}

function approvalView(deps: GatewayDeps, approval: StoredApproval) {
  const { approvalId, paymentKey, policyHash, owner, policyName, approvers, payer, payee, service, resource, amount, paymentId, state, decidedBy, askedAt, decidedAt, expiresAt, expired } = approval;
  const sign = (granted: boolean) => {
    const { domain, types, primaryType, message } = approvals.toSign(deps, approval, granted);
    return { domain, types, primaryType, message: { ...message, amount: String(message.amount), expiresAt: String(message.expiresAt) } };
  };
  return {
    id: approvalId, state: state === "pending" && expired ? "expired" : state, payer, payee, amountAtomic: String(amount), service, resource, paymentId, paymentKey, policyHash, policy: { owner, name: policyName }, approvers,
    decidedBy: decidedBy ?? null, askedAt: askedAt.toISOString(), decidedAt: decidedAt?.toISOString() ?? null, expiresAt: expiresAt.toISOString(), sign: { grant: sign(true), refuse: sign(false) },
  };
}

function checkRoute(app: FastifyInstance, deps: GatewayDeps, at: string, about: About): void {
  app.post<{ Body: Static<typeof schemas.CheckBody> }>(
    `${at}/check`,
    {
      schema: about("Would it pass, or what became of it?", {
        description: "One of `payment` (its signature says who pays), `sessionId`, `paymentId`, `negotiation` (signed in). Or two layers: `intent` in words and `action`, whose answer carries the proof it expects: a txHash, or that the money never moved.",
        body: schemas.CheckBody, response: { 200: schemas.CheckView, 400: problemResponse("Malformed"), ...signedOut, 404: problemResponse("None, or not yours"), 409: problemResponse("The idempotency key was used for another action") },
      }),
    },
    async (request) => {
      const { intent: _forPeople, action, ...plain } = request.body;
      const who = () => caller(deps, request);
      if (action === undefined) return checks.check(deps, oneOf(plain, ""), who);
      if (Object.keys(plain).length > 0) throw malformed("action", "With an action, its inputs say what is asked.");
      oneOf(action.inputs, "action.inputs.");
      return checks.act(deps, action, who);
    },
  );
}

function oneOf(wire: schemas.WireCheck, at: string): schemas.WireCheck {
  const given = (["payment", "sessionId", "paymentId", "negotiation"] as const).filter((key) => wire[key] !== undefined);
  if (given.length === 1) return wire;
  throw malformed(`${at}${given[1] ?? "payment"}`, "Exactly one of payment, sessionId, paymentId and negotiation is asked about.");
}

const malformed = (field: string, detail: string) => new TallystickError({ code: "request_malformed", status: 400, retry: "never", field, detail });

function eventsRoute(app: FastifyInstance, deps: GatewayDeps, at: string, about: About, stream: EventStreams): void {
  app.get<{ Querystring: Static<typeof schemas.EventsQuery> }>(
    `${at}/events`,
    {
      schema: about("What the firewall did about your payments, sales and policies: the newest first", {
        description: "`cursor` of an answer asks for the page before it. With `Accept: text/event-stream`: as it happens, resumable by Last-Event-ID (or ?after=).",
        querystring: schemas.EventsQuery, response: { 200: schemas.EventsView, ...signedOut },
      }),
    },
    async (request, reply) => {
      const party = await caller(deps, request);
      if (String(request.headers.accept ?? "").includes("text/event-stream")) return streamed(deps, request, reply, party, stream);
      const { cursor, limit = 50 } = request.query;
      const events = await newest(deps, party, cursor === undefined ? undefined : BigInt(cursor), limit);
      return { events: events.map(eventView), cursor: events.length < limit ? null : String(events.at(-1)!.eventId) };
    },
  );
}

async function streamed(deps: GatewayDeps, request: FastifyRequest<{ Querystring: Static<typeof schemas.EventsQuery> }>, reply: FastifyReply, party: Address, stream: EventStreams): Promise<void> {
  const last = request.headers["last-event-id"] ?? request.query.after;
  const from = typeof last === "string" && last !== "" ? readPosition(last) : undefined;
  await stream(request, reply, async function* (signal) {
    for await (const events of following(deps, party, from, signal)) yield events.map((event) => `id: ${idOf(event)}\nevent: ${event.kind}\ndata: ${JSON.stringify({ at: event.at.toISOString(), ...event.data })}\n\n`).join("");
  });
}

function eventView({ eventId, at, kind, rule, reason, paymentId, channelId, scheme, payer, payee, service, resource, price, policy, repeated }: StoredEvent) {
  return {
    id: String(eventId), at: at.toISOString(), kind, decision: kind === "payment.rejected" ? "REJECTED" : kind === "payment.pending" ? "PENDING" : null, rule, reason, paymentId: paymentId ?? null, sessionId: channelId ?? null, scheme: scheme ?? null,
    payer: payer ?? null, payee: payee ?? null, service: service ?? null, resource: resource ?? null, priceAtomic: price === undefined ? null : String(price), policy, repeated: Number(repeated),
  };
}
