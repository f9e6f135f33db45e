// The builders of this app, as `npx convex dev` would generate them: written out, so that the example type-checks without a
// deployment.
import {
  type ApiFromModules, type DataModelFromSchemaDefinition, type FilterApi, type FunctionReference, type GenericMutationCtx,
  type GenericQueryCtx, type HttpActionBuilder, type MutationBuilder, type QueryBuilder, anyApi, httpActionGeneric,
  internalMutationGeneric, mutationGeneric, queryGeneric,
} from "convex/server";
import type * as plangate from "./plangate";
import type * as projects from "./projects";
import type schema from "./schema";

export type DataModel = DataModelFromSchemaDefinition<typeof schema>;
export type QueryCtx = GenericQueryCtx<DataModel>;
export type MutationCtx = GenericMutationCtx<DataModel>;

export const query = queryGeneric as QueryBuilder<DataModel, "public">;
export const mutation = mutationGeneric as MutationBuilder<DataModel, "public">;
export const internalMutation = internalMutationGeneric as MutationBuilder<DataModel, "internal">;
export const httpAction: HttpActionBuilder = httpActionGeneric;

type All = ApiFromModules<{ plangate: typeof plangate; projects: typeof projects }>;
export const api = anyApi as unknown as FilterApi<All, FunctionReference<any, "public">>;
export const internal = anyApi as unknown as FilterApi<All, FunctionReference<any, "internal">>;
