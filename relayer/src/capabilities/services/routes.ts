import type { FastifyInstance } from "fastify";
import { Type, type Static } from "typebox";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import * as gateway from "../gateway/service.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import type { Service } from "../gateway/store.ts";
import type { Deps } from "../../deps.ts";
import { ListBody, NameParams, ReplaceBody, ServiceView } from "./schemas.ts";
import { list, remove, replace } from "./service.ts";

type Named = { Params: Static<typeof NameParams> };

const refusals = { 400: problemResponse("Malformed, or an origin that is refused"), 401: problemResponse("Not signed in") };
const notYours = { 403: problemResponse("Another's"), 404: problemResponse("No such service") };

export function serviceRoutes(app: FastifyInstance, deps: GatewayDeps & AccessDeps): void {
  app.get("/api/v1/services", { schema: { tags: ["services"], summary: "What is for sale", response: { 200: Type.Object({ services: Type.Array(ServiceView) }) } } }, async () => ({
    services: (await gateway.services(deps)).map((service) => view(deps, service)),
  }));
  app.get<Named>("/api/v1/services/:name", { schema: { tags: ["services"], summary: "One of them", params: NameParams, response: { 200: ServiceView, 404: notYours[404] } } }, async (request) =>
    view(deps, await gateway.serviceNamed(deps, request.params.name)),
  );
  app.post<{ Body: Static<typeof ListBody> }>(
    "/api/v1/services",
    { schema: { tags: ["services"], summary: "Put an API up for sale; the same again changes nothing", body: ListBody, response: { 201: ServiceView, ...refusals, 409: problemResponse("The name is taken") } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      return reply.code(201).send(view(deps, await list(deps, address, request.body.name, request.body)));
    },
  );
  app.put<Named & { Body: Static<typeof ReplaceBody> }>(
    "/api/v1/services/:name",
    { schema: { tags: ["services"], summary: "Change a service of yours; open channels keep their terms", params: NameParams, body: ReplaceBody, response: { 200: ServiceView, ...refusals, ...notYours } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      return view(deps, await replace(deps, address, request.params.name, request.body));
    },
  );
  app.delete<Named>(
    "/api/v1/services/:name",
    { schema: { tags: ["services"], summary: "Take a service of yours off sale", params: NameParams, response: { 204: Type.Null(), 401: refusals[401], ...notYours } } },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      await remove(deps, address, request.params.name);
      return reply.code(204).send();
    },
  );
}

function view({ config }: Pick<Deps, "config">, service: Service): Static<typeof ServiceView> {
  return {
    name: service.name,
    description: service.description,
    url: service.url ?? `${config.publicUrl}/s/${service.name}`,
    selfHosted: service.url !== undefined,
    priceAtomic: service.price.toString(),
    token: service.token,
    network: config.network,
    receiver: service.receiver,
    owner: service.owner ?? null,
    withdrawDelayS: service.withdrawDelayS,
    subscription: service.subscription ?? null,
    stream: service.stream === undefined ? null : { unit: service.stream.unit, priceAtomic: service.stream.unitPrice.toString() },
  };
}
