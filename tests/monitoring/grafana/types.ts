// What a dashboard in JSON has to look like, from the types of Grafana's own packages. The test appends the dashboard,
// piece by piece, each with its type: so a key that Grafana does not know is an error, and so is a wrong value.
import type {
  AnnotationQuery, Dashboard, FieldConfig, GraphFieldConfig, Panel, RowPanel, TableFieldOptions, VariableModel,
} from '@grafana/schema';
import type { Options as BarGauge } from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type { Options as Stat } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { Options as Table } from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type { Options as TimeSeries } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON has strings where the types have enumerations.
type Plain<T> = T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer Item> ? Plain<Item>[]
  : T extends object ? { [Key in keyof T]: Plain<T[Key]> }
  : T;

// Grafana fills in what is left out.
type Deep<T> = T extends Array<infer Item> ? Deep<Item>[] : T extends object ? { [Key in keyof T]?: Deep<T[Key]> } : T;

type Of<Kind extends string, Options, Custom> = Plain<Omit<Panel, 'type' | 'options' | 'fieldConfig'> & {
  type: Kind;
  title: string;
  description: string;
  options: Deep<Options>;
  fieldConfig: {
    defaults: Omit<FieldConfig, 'custom'> & { custom?: Deep<Custom> };
    overrides: NonNullable<Panel['fieldConfig']>['overrides'];
  };
}>;

type StatPanel = Of<'stat', Stat, Record<string, never>>;
type BarGaugePanel = Of<'bargauge', BarGauge, Record<string, never>>;
type TimeSeriesPanel = Of<'timeseries', TimeSeries, GraphFieldConfig>;
type TablePanel = Of<'table', Table, TableFieldOptions>;
type Row = Plain<RowPanel>;
type Variable = Plain<VariableModel>;
// The Prometheus data source reads these itself.
type Annotation = Plain<AnnotationQuery> & { expr?: string; step?: string; tagKeys?: string; titleFormat?: string };
type Rest = Plain<Omit<Dashboard, 'panels' | 'templating' | 'annotations'>>;
