// Serializers of answers, from the schemas of the routes. Each is made for the first answer that needs it, and once for all routes that share a
// schema: making them all took a second of every start.
import fastJsonStringify from "fast-json-stringify";
import type { FastifySerializerCompiler } from "fastify";

type Serialize = (answer: unknown) => string;

const made = new WeakMap<object, Serialize>();

function serializerOf(schema: object): Serialize {
  const known = made.get(schema) ?? (fastJsonStringify(schema) as Serialize);
  made.set(schema, known);
  return known;
}

export const serializeOnDemand: FastifySerializerCompiler<object> = ({ schema }) => {
  let serialize: Serialize | undefined;
  return (answer: unknown) => (serialize ??= serializerOf(schema))(answer);
};
