// RFC 9457 problem documents as OpenAPI shows them.
import { Type } from "typebox";

const Problem = Type.Object(
  {
    type: Type.String({ description: "URI that names the problem" }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: "Stable; branch on it" }),
    detail: Type.String(),
    retry: Type.Union([Type.Literal("never"), Type.Literal("safe"), Type.Literal("unknown")]),
    field: Type.Optional(Type.String({ description: "Path of the offending input" })),
    instance: Type.Optional(Type.String()),
    paymentId: Type.Optional(Type.String()),
  },
  { additionalProperties: true },
);

/** A response that is a problem document. */
export const problemResponse = (description: string) => ({ description, content: { "application/problem+json": { schema: Problem } } });
