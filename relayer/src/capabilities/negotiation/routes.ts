import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Static } from "typebox";
import type { Hex } from "viem";
import { fromWire, toWire, type MessageName, type Signed } from "../../../../sdk/src/negotiation/messages.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { publishPolicy, standingPolicy } from "./policies.ts";
import { AnswerView, CounterOrOffer, IntentParams, IntentsView, KeptView, NameParams, NegotiationView, OfferView, PolicyParams, PolicyView, SessionParams, SessionView, SignedBody, VoucherBody } from "./schemas.ts";
import * as negotiation from "./service.ts";
import { leaveVoucher, sessionTokenOf, type LeftVoucher } from "./standing.ts";
import { intentsFor, policyOf, sessionView } from "./views.ts";

const tags = ["negotiation"];
const refusals = {
  400: problemResponse("Malformed; `field` names where"), 403: problemResponse("Not signed by whoever may, or made to another agent"), 404: problemResponse("No such intent, offer or service"),
  409: problemResponse("Over, taken, countered, or the rounds are used up"), 429: problemResponse("Too many open intents"),
};
type ById = { Params: Static<typeof IntentParams> };
type Body = { message: Record<string, unknown>; signature: string };

const idOf = ({ params }: FastifyRequest<ById>): Hex => params.intentId.toLowerCase() as Hex;
const signed = <Name extends MessageName>(name: Name, { message, signature }: Body): Signed<Name> => fromWire(name, { message, signature: signature as Hex });

type Offer = Awaited<ReturnType<typeof negotiation.makeOffer>>;
const offerView = ({ offerHash, offer, policyHash, renews }: Offer): Static<typeof OfferView> => ({ offerHash, ...toWire("Offer", offer), policyHash: policyHash ?? null, renews: renews ?? null });
const answerView = (offer: Offer | undefined): Static<typeof AnswerView> => ({ state: offer === undefined ? "waiting" : "answered", offer: offer === undefined ? null : offerView(offer) });

export function negotiationRoutes(app: FastifyInstance, deps: GatewayDeps & AccessDeps): void {
  const view = ({ intentHash, intent: { message }, offers, declined }: negotiation.Negotiation): Static<typeof NegotiationView> => ({
    intentId: message.intentId, intentHash, sessionId: message.intentId, state: message.expiresAt * 1000 > deps.now().getTime() ? "open" : "expired", expiresAt: message.expiresAt, offers: offers.map(offerView), declined,
  });
  for (const url of ["/api/v1/intents", "/api/a2a/negotiate"]) {
    app.post<{ Body: Body }>(
      url,
      { schema: { tags, summary: "Say what you want and what you pay for it at most; the same again changes nothing", body: SignedBody("Intent"), response: { 201: NegotiationView, ...refusals }, description: "Providers that are away answer at once by the price policy they signed; live ones later. Signed by its agent, so no sign-in." } },
      async (request, reply) => reply.code(201).send(view(await negotiation.publishIntent(deps, signed("Intent", request.body)))),
    );
  }
  app.get<ById>("/api/v1/intents/:intentId/offers", { schema: { tags, summary: "Offers so far", params: IntentParams, response: { 200: NegotiationView, 404: refusals[404] } } }, async (request) => view(await negotiation.negotiationOf(deps, idOf(request))));
  app.post<ById & { Body: Body }>(
    "/api/v1/intents/:intentId/offers",
    { schema: { tags, summary: "Make an offer, as the service's owner, live", params: IntentParams, body: SignedBody("Offer"), response: { 201: OfferView, ...refusals } } },
    async (request, reply) => reply.code(201).send(offerView(await negotiation.makeOffer(deps, idOf(request), signed("Offer", request.body)))),
  );
  app.post<ById & { Body: Body }>(
    "/api/v1/intents/:intentId/counter",
    { schema: { tags, summary: "Ask for less; an offer is countered once, and four times in all", params: IntentParams, body: SignedBody("Counter"), response: { 200: AnswerView, ...refusals } } },
    async (request) => answerView(await negotiation.counterOffer(deps, idOf(request), signed("Counter", request.body))),
  );
  app.post<ById & { Body: Body }>(
    "/api/v1/intents/:intentId/accept",
    { schema: { tags, summary: "Take an offer: a session at its price", params: IntentParams, body: SignedBody("Acceptance"), response: { 200: SessionView, 201: SessionView, ...refusals } } },
    async (request, reply) => {
      const { session, token, isNew } = await negotiation.acceptOffer(deps, idOf(request), signed("Acceptance", request.body));
      return reply.code(isNew ? 201 : 200).send({ ...sessionView(session), ...(token === undefined ? {} : { sessionToken: token }) });
    },
  );
  app.post<{ Params: Static<typeof SessionParams>; Body: { counter?: Body; offer?: Body } }>(
    "/api/a2a/negotiate/:sessionId/offer",
    { schema: { tags, summary: "The agent's counter-offer, or the provider's offer", params: SessionParams, body: CounterOrOffer, response: { 200: AnswerView, ...refusals } } },
    async (request) => {
      const intentId = request.params.sessionId.toLowerCase() as Hex;
      const { counter, offer } = request.body;
      if ((counter === undefined) === (offer === undefined)) throw negotiation.refuse("negotiation_malformed", 400, "Give either counter or offer.", "counter");
      return answerView(counter === undefined ? await negotiation.makeOffer(deps, intentId, signed("Offer", offer!)) : await negotiation.counterOffer(deps, intentId, signed("Counter", counter)));
    },
  );
  app.get("/api/v1/intents", { schema: { tags, summary: "Open intents that you may answer, as a provider that is signed in", response: { 200: IntentsView, 401: problemResponse("Not signed in") } } }, async (request) => ({
    intents: await intentsFor(deps, (await callerOf(deps, request)).address),
  }));
  app.get<{ Params: Static<typeof SessionParams> }>(
    "/api/v1/negotiated-sessions/:sessionId",
    { schema: { tags, summary: "A session of yours: what was agreed and what is used of it", params: SessionParams, response: { 200: SessionView, 401: problemResponse("Not signed in"), 404: refusals[404] } } },
    async (request) => sessionView(await negotiation.sessionFor(deps, request.params.sessionId.toLowerCase() as Hex, (await callerOf(deps, request)).address)),
  );
  voucherRoute(app, deps);
  policyRoutes(app, deps);
}

function voucherRoute(app: FastifyInstance, deps: GatewayDeps): void {
  app.post<{ Params: Static<typeof SessionParams>; Body: LeftVoucher }>(
    "/api/v1/negotiated-sessions/:sessionId/voucher",
    {
      schema: {
        tags, summary: "Leave a voucher for the session's calls, so that they need its id and token only", params: SessionParams, body: VoucherBody, response: { 200: KeptView, ...refusals, 402: problemResponse("The session, or the channel, is not one to pay by") },
        description: "Signed for at most what the channel was charged and what is left of the budget. Needs the session's token, in X-402-Session-Token or as a bearer. The same again changes nothing; a higher one takes over.",
      },
    },
    async (request) => {
      const { session, ceiling } = await leaveVoucher(deps, request.params.sessionId.toLowerCase() as Hex, sessionTokenOf(request.headers), request.body);
      return { ...sessionView(session), ceilingAtomic: ceiling.toString() };
    },
  );
}

function policyRoutes(app: FastifyInstance, deps: GatewayDeps): void {
  app.put<{ Params: Static<typeof NameParams>; Body: Body }>(
    "/api/v1/services/:name/price-policy",
    { schema: { tags, summary: "What this relayer may offer in your name while you are away, signed by the service's owner", params: NameParams, body: SignedBody("PricePolicy"), response: { 200: PolicyView, ...refusals } } },
    async (request) => ({ policyHash: await publishPolicy(deps, request.params.name, signed("PricePolicy", request.body)), ...request.body }),
  );
  app.get<{ Params: Static<typeof NameParams> }>("/api/v1/services/:name/price-policy", { schema: { tags, summary: "The policy that stands", params: NameParams, response: { 200: PolicyView, 404: refusals[404] } } }, async (request) => {
    const { policyHash, policy } = await standingPolicy(deps, request.params.name);
    return { policyHash, ...toWire("PricePolicy", policy) };
  });
  app.get<{ Params: { policyHash: string } }>("/api/v1/price-policies/:policyHash", { schema: { tags, summary: "A policy by its hash, for whoever checks an offer", params: PolicyParams, response: { 200: PolicyView, 404: refusals[404] } } }, async (request) => {
    const { policyHash, policy } = await policyOf(deps, request.params.policyHash.toLowerCase() as Hex);
    return { policyHash, ...toWire("PricePolicy", policy) };
  });
}

