// Wire types of webhooks.
import { Type } from "typebox";

export const HookBody = Type.Object(
  {
    url: Type.String({ maxLength: 2_048, description: "http or https, without credentials and fragment" }),
    kinds: Type.Optional(Type.Array(Type.String({ pattern: "^[a-z][a-z_.]{0,60}$" }), { maxItems: 20, description: "Beginnings of kinds, such as job. or payment.charged; all when left out" })),
  },
  { additionalProperties: false },
);
export const HookParams = Type.Object({ webhookId: Type.String({ pattern: "^whk_[0-9a-f]{32}$" }) });
const Text = Type.String();
const Hook = { webhookId: Text, url: Text, kinds: Type.Array(Text), createdAt: Text, enabled: Type.Boolean({ description: "false: retired after two days in which an event was not taken" }), disabledAt: Type.Union([Text, Type.Null()]) };
export const HookView = Type.Object(Hook);
export const NewHookView = Type.Object({ ...Hook, secret: Type.String({ description: "Shown once: the key of the HMAC-SHA256 in Tallystick-Signature" }) });
export const DeliveriesView = Type.Object({
  deliveries: Type.Array(Type.Object({ event: Text, kind: Text, at: Text, attempt: Type.Integer(), status: Type.Union([Type.Integer(), Type.Null()]), fault: Type.Union([Text, Type.Null()]) })),
});
