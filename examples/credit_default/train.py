# credit default model - final version (v3)
import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# df = pd.read_csv("/home/analyst/Downloads/cards/credit_card_default.csv")
df = pd.read_csv("data/credit_card_default.csv.gz")
print(df.shape)

categorical = ["SEX", "EDUCATION", "MARRIAGE"]
# months of delay are codes (-2 = no use, -1 = paid, 0 = revolving), much better one-hot!!
categorical += ["PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6"]
numeric = [c for c in df.columns if c not in categorical + ["ID", "Default"]]

X = df[categorical + numeric]
y = df["Default"]

X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2)

model = Pipeline(
    [
        (
            "prep",
            ColumnTransformer(
                [
                    ("cat", OneHotEncoder(handle_unknown="ignore"), categorical),
                    ("num", Pipeline([("imp", SimpleImputer(strategy="median")), ("sc", StandardScaler())]), numeric),
                ]
            ),
        ),
        ("clf", LogisticRegression(max_iter=1000)),
    ]
)

model.fit(X_train, y_train)

# looks good
pred = model.predict(X_train)
print("accuracy:", accuracy_score(y_train, pred))
print("auc:", roc_auc_score(y_train, model.predict_proba(X_train)[:, 1]))

joblib.dump(model, "model.joblib", compress=3)
print("saved")
